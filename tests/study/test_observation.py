"""The block `evaluation`: off by default, checked before anything runs, and what it plans."""

import json

import pytest

from modeledit.study.config import ConfigError, load_settings
from modeledit.study.inventory import Inventory
from modeledit.study.jobs import Kind
from modeledit.study.layout import Run
from modeledit.study.observation import PARTS, SUBJECT_PROMPTS
from tests.study.test_config import CONFIG, ROOT, merged

ALL = {"generation": {"tokens": 8}, "fluency": {"tokens": 9}, "probes": {"tokens": 7}}


def inventory(evaluation, **more):
    config = merged(CONFIG, {"evaluation": evaluation, **more})
    return Inventory(load_settings(config, ROOT, lambda path: 100))


def test_nothing_is_observed_by_default():
    found = inventory({})
    assert found.settings.config.evaluation.parts == ()
    assert not any(found.observed.asks(file) for file in PARTS)
    observing = {Kind.CONTINUE, Kind.TELL, Kind.PROBES, Kind.ASK, Kind.DRIFT, Kind.BEHAVIOR}
    assert not {job.kind for job in found.jobs()} & observing


def test_every_part_has_its_jobs_for_the_unedited_model_the_first_and_the_last_iteration():
    found = inventory(ALL | {"drift": True})
    assert found.settings.config.evaluation.fluency.prompts == SUBJECT_PROMPTS
    runs, last = found.settings.runs, found.settings.config.stop.extended
    assert found.observed.iterations(runs[0]) == (1, last)
    trials = len({run.trial for run in runs})
    counts = {kind: 0 for kind in Kind}
    for job in found.jobs():
        counts[job.kind] += 1
    for kind in (Kind.CONTINUE, Kind.TELL, Kind.ASK):
        assert counts[kind] == trials + 2 * len(runs)
    assert counts[Kind.DRIFT] == 2 * len(runs)  # the unedited model does not drift
    assert (counts[Kind.PROBES], counts[Kind.BEHAVIOR]) == (trials, len(runs))


def test_a_run_of_one_iteration_is_observed_once():
    found = inventory({"drift": True}, stop={"iterations": 1, "extended": 1})
    runs = found.settings.runs
    assert isinstance(runs[0], Run)
    drifts = [job for job in found.jobs() if job.kind is Kind.DRIFT]
    assert len(drifts) == len(runs)


def test_what_is_asked_for_by_name_is_no_job_of_the_study():
    asked = {"generation": {"tokens": 8}}
    named = {"harness": {"tasks": ["piqa"]}, "judge": {"server": "http://127.0.0.1:8000/v1"}}
    found = inventory(asked | named)
    assert found.settings.config.evaluation.parts == ("generation",)
    assert list(found.jobs()) == list(inventory(asked).jobs())


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ({"generation": {"tokens": 0}}, "evaluation.generation.tokens = 0: must be at least 1"),
        ({"generation": {}}, "evaluation.generation: missing tokens"),
        ({"jury": 1}, "evaluation: unknown key jury"),
        ({"judge": {}}, "evaluation.judge: judges what evaluation.generation lets models say"),
        (
            ALL | {"judge": {"verdicts": "nowhere.jsonl"}},
            "evaluation.judge.verdicts = 'nowhere.jsonl': no such file",
        ),
        (
            ALL | {"judge": {"verdicts": "Makefile", "server": "http://127.0.0.1:8000/v1"}},
            "evaluation.judge: both verdicts and server; give one of the two, or none",
        ),
        (
            ALL | {"judge": {"server": "file:///etc/passwd"}},
            "evaluation.judge.server = 'file:///etc/passwd': allowed: addresses like http://127",
        ),
        (
            ALL | {"judge": {"server": "https://me:secret@judge.example/v1"}},
            "evaluation.judge.server = 'https://***@judge.example/v1': a password would be",
        ),
        (
            ALL | {"judge": {"model": "small"}},
            "evaluation.judge.model = 'small': there is no server to ask for it",
        ),
        (ALL | {"judge": {"kinds": ["neighbor"]}}, "evaluation.judge.kinds.0 = 'neighbor'"),
        ({"harness": {"tasks": []}}, "evaluation.harness.tasks = []"),
        (
            {"harness": {"tasks": ["mine"], "include": "nowhere"}},
            "evaluation.harness.include = 'nowhere': no such folder",
        ),
        (
            {"fluency": {"tokens": 5, "prompts": ["It is"]}},
            "evaluation.fluency.prompts.0 = 'It is': must hold exactly one {} for the subject",
        ),
        (
            {"fluency": {"tokens": 5, "references": "nowhere.jsonl"}},
            "evaluation.fluency.references = 'nowhere.jsonl': no such file",
        ),
        (
            {"probes": {"tokens": 5, "files": {"atlas": {"path": "x", "format": "mquake"}}}},
            "evaluation.probes.files.atlas: no such dataset; allowed: geography",
        ),
        (
            {"probes": {"tokens": 5, "files": {"geography": {"path": "x", "format": "mine"}}}},
            "format = 'mine': allowed: own, mquake, ripple_edits, knowedit",
        ),
    ],
)
def test_what_is_wrong_is_said_by_its_key(evaluation, said):
    with pytest.raises(ConfigError) as error:
        inventory(evaluation)
    assert said in str(error.value)


def test_a_dataset_of_ones_own_needs_a_file_of_probes(tmp_path):
    own = {"own": {"source": "counterfact", "path": str(tmp_path / "own.json")}}
    (tmp_path / "own.json").write_text(json.dumps([]))
    runs = [{"dataset": "own", "requests": "all", "models": ["smollm2-135m"], "methods": ["MEMIT"]}]
    more = {"datasets": own, "runs": runs, "trials": {"count": 1, "size": 5}}
    with pytest.raises(ConfigError, match="evaluation.probes.files: missing own; only the probes"):
        inventory({"probes": {"tokens": 5}}, **more)
    asked = tmp_path / "probes.jsonl"
    asked.write_text("")
    files = {"own": {"path": str(asked), "format": "own"}}
    found = inventory({"probes": {"tokens": 5, "files": files}}, **more)
    assert (
        found.observed.probe_file("own") == str(asked) == found.observed.probe_file("own-eligible")
    )
    assert found.observed.probe_file("geography") == []
