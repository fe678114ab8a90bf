"""What states do is observed later than they were edited: no edit is made again."""

import pandas as pd
import pytest

from modeledit.evaluation.schemas import DRIFT, GENERATIONS, RAW_SCORES
from tests.workflow.test_plan import job_counts
from tests.workflow.tiny_study import MODEL, NAME, OPTIONS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("behavior")]

RUN = f"results/{NAME}/own-eligible/{MODEL}/NA_MEMIT/trial1"
UNEDITED = f"results/{NAME}/own-eligible/{MODEL}/unedited/trial1"


def test_switching_it_on_edits_and_scores_nothing_again(observed):
    counts = job_counts(observed.printed)
    assert not {"edit", "score_unedited", "evaluate_run", "find_eligible"} & counts.keys()
    for rule in ("continue_prompts", "tell_of_subjects", "ask_probes", "measure_drift"):
        assert counts[rule] == 4, rule  # two methods, k = 1 and the last
    for rule in ("continue_prompts", "tell_of_subjects", "ask_probes"):
        assert counts[f"{rule}_unedited"] == 1, rule


def test_every_state_has_its_raw_files(observed):
    project = observed.project
    schemas = {
        "generations.parquet": GENERATIONS,
        "fluency.parquet": GENERATIONS,
        "probes.parquet": RAW_SCORES,
        "probe_generations.parquet": GENERATIONS,
        "drift.parquet": DRIFT,
    }
    for folder in (f"{RUN}/iter1", f"{RUN}/iter2", UNEDITED):
        for name, schema in schemas.items():
            path = project.folder / folder / name
            if folder == UNEDITED and schema is DRIFT:
                assert not path.exists()
                continue
            frame = schema.read(path)
            assert len(frame), path
    scores = RAW_SCORES.read(project.folder / UNEDITED / "scores.parquet")
    said = GENERATIONS.read(project.folder / UNEDITED / "generations.parquet")
    keys = ["request", "kind", "index"]
    scored = scores[scores["kind"] != "text"][keys].drop_duplicates()
    assert len(said.merge(scored, on=keys)) == len(said) == len(scored)


def test_the_numbers_follow(observed):
    project = observed.project
    table = pd.read_csv(project.folder / f"results/{NAME}/behavior.csv")
    assert set(table["state"]) == {"unedited", "first", "stop"}
    assert set(table["method"]) >= {"MEMIT", "NA_MEMIT"}
    tests = pd.read_csv(project.folder / f"results/{NAME}/behavior_tests.csv")
    assert set(tests["comparison"]) == {"iterating", "neighbor"}


def test_a_second_run_has_nothing_to_do(observed):
    project = observed.project
    again = project.snakemake("behavior", *OPTIONS)
    assert "Nothing to be done" in again.stdout, again.stdout[-3000:]
