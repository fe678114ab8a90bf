"""What states do is observed later than they were edited: no edit is made again."""

import json

import pandas as pd
import pytest
import yaml

from modeledit.evaluation.schemas import DRIFT, GENERATIONS, RAW_SCORES
from tests.workflow.conftest import Project
from tests.workflow.test_plan import job_counts
from tests.workflow.tiny_study import MODEL, NAME, NEW, OPTIONS, PLACES, tiny_project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("behavior")]

RUN = f"results/{NAME}/own-eligible/{MODEL}/NA_MEMIT/trial1"
UNEDITED = f"results/{NAME}/own-eligible/{MODEL}/unedited/trial1"
EVALUATION = {
    "generation": {"tokens": 4},
    "fluency": {"tokens": 6},
    "probes": {
        "tokens": 4,
        "files": {"own": {"path": "tmp/probes.jsonl", "format": "own"}},
    },
    "drift": True,
}


def write_probes(project: Project) -> None:
    """One probe of each fact."""
    lines = [
        {
            "subject": place,
            "target_new": NEW[number % len(NEW)],
            "kind": "two_hop",
            "prompt": f"The capital of the country of {place} is",
            "answers": ["Lima"],
            "forbidden": [],
            "before": "Paris",
        }
        for number, place in enumerate(PLACES[:-2])
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (project.folder / "tmp/probes.jsonl").write_text(text)


@pytest.fixture(scope="module")
def observed(tmp_path_factory) -> tuple[Project, dict[str, int], str]:
    """The study run without the block, then with it: the jobs of the second, and what it said."""
    project = tiny_project(tmp_path_factory.mktemp("behavior"))
    first = project.snakemake("metrics", *OPTIONS)
    assert first.returncode == 0, first.stdout[-5000:]
    write_probes(project)
    path = project.folder / OPTIONS[1]
    path.write_text(path.read_text() + yaml.safe_dump({"evaluation": EVALUATION}))
    second = project.snakemake("behavior", *OPTIONS)
    assert second.returncode == 0, second.stdout[-5000:]
    return project, job_counts(second.stdout), second.stdout


def test_switching_it_on_edits_and_scores_nothing_again(observed):
    _, counts, _ = observed
    assert not {"edit", "score_unedited", "evaluate_run", "find_eligible"} & counts.keys()
    for rule in ("continue_prompts", "tell_of_subjects", "ask_probes", "measure_drift"):
        assert counts[rule] == 4, rule  # two methods, k = 1 and the last
    for rule in ("continue_prompts", "tell_of_subjects", "ask_probes"):
        assert counts[f"{rule}_unedited"] == 1, rule


def test_every_state_has_its_raw_files(observed):
    project, _, _ = observed
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
    project, _, _ = observed
    table = pd.read_csv(project.folder / f"results/{NAME}/behavior.csv")
    assert set(table["state"]) == {"unedited", "first", "stop"}
    assert set(table["method"]) >= {"MEMIT", "NA_MEMIT"}
    tests = pd.read_csv(project.folder / f"results/{NAME}/behavior_tests.csv")
    assert set(tests["comparison"]) == {"iterating", "neighbor"}


def test_a_second_run_has_nothing_to_do(observed):
    project, _, _ = observed
    again = project.snakemake("behavior", *OPTIONS)
    assert "Nothing to be done" in again.stdout, again.stdout[-3000:]
