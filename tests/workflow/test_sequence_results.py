"""From what batches leave to the report, by the workflow itself, on a study without any run."""

import json
import shutil

import pytest
import yaml

from modeledit.study.layout import Layout
from tests.made_up_sequences import Study
from tests.workflow.conftest import copy_project

CONFIG = {
    "name": "demo",
    "partial": True,
    "trials": {"count": 2, "size": 6},
    "runs": [
        {
            "dataset": "geography",
            "requests": "all",
            "models": ["smollm2-135m"],
            "methods": ["MEMIT", "AlphaEdit"],
            "batches": {"size": 2, "count": 3},
        }
    ],
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the project in which two batches of a sequence of MEMIT and of AlphaEdit are done;
    one of MEMIT's second trial is not."""
    made = copy_project(tmp_path / "project")
    monkeypatch.chdir(made.folder)
    study = Study(Layout("demo"))
    study.write()
    for key in study.keys():
        last = study.batch_files(key, "")[2]
        shutil.rmtree(last)
    shutil.rmtree(study.batch_files(study.keys()[2], "")[1])
    (made.folder / "demo.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    return made


@pytest.mark.slow
def test_a_partial_study_of_sequences_comes_to_its_report(project):
    done = project.snakemake("--configfile", "demo.yaml")
    assert done.returncode == 0, done.stdout[-5000:]
    results = project.folder / "results" / "demo"
    assert not (results / "metrics.csv").exists()
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "of 4 planned sequences 4 have batches that were done" in page
    figure = results / "figures" / "geography.smollm2-135m.batches_of_2.sequence.json"
    panels = json.loads(figure.read_text(encoding="utf-8"))["panels"]
    assert panels["efficacy"]["methods"]["MEMIT"]["edits"] == [2, 4]
    assert panels["forgetting"]["methods"]["MEMIT"]["edits"] == [2]  # of both trials
    assert panels["forgetting"]["methods"]["AlphaEdit"]["edits"] == [2, 4]
    again = project.snakemake("--configfile", "demo.yaml", "-n")
    assert "Nothing to be done" in again.stdout
