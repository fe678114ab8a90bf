"""Provenance: the right commit, digests and versions, and nothing made up where one is missing."""

import hashlib
import json
import shutil
import subprocess

import pytest

from modeledit.io import provenance as P

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def project(tmp_path):
    """A folder with a requirements file, a result and a prepared model."""
    root = tmp_path / "project"
    (root / "results").mkdir(parents=True)
    (root / "requirements.txt").write_text("# pins\npytest==0.0.1\nno-such-package==1.2\n-r x\n")
    (root / "results" / "metrics.csv").write_text("a\n1\n")
    (root / "prepared.json").write_text(json.dumps({"weights_sha256": "ab"}))
    return root


def git(folder, *arguments):
    names = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    command = ["git", "-C", str(folder), *names, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@needs_git
def test_commit_and_changes(project):
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "first")
    head = git(project, "rev-parse", "HEAD")
    assert P.code(project) == {"commit": head, "dirty": False, "changed": []}
    (project / "new.py").write_text("")
    (project / "prepared.json").write_text("{}")
    assert P.code(project) == {
        "commit": head,
        "dirty": True,
        "changed": ["new.py", "prepared.json"],
    }
    for i in range(30):
        (project / f"more{i:02}.py").write_text("")
    assert len(P.code(project)["changed"]) == P.CHANGED_SHOWN


@needs_git
def test_another_repository_around_the_project_is_not_its_own(project):
    git(project.parent, "init", "-q")
    git(project.parent, "commit", "-qm", "first", "--allow-empty")
    found = P.code(project)
    assert found["commit"] is None and "another repository" in found["why"]


def test_without_git_the_record_says_why(project, monkeypatch):
    monkeypatch.setenv("PATH", str(project))
    found = P.code(project)
    assert found["commit"] is None and found["dirty"] is None and "git" in found["why"]
    assert P.gpus() == []


def test_a_record_is_complete_and_repeatable(project, monkeypatch):
    monkeypatch.chdir(project)
    files = [project / "results" / "metrics.csv", project.relative_to(project) / "requirements.txt"]
    arguments = (project, project / "requirements.txt", files, {"m": project / "prepared.json"})
    found = P.record(*arguments)
    assert found == P.record(*arguments) == json.loads(json.dumps(found))
    assert found["files"]["results/metrics.csv"] == hashlib.sha256(b"a\n1\n").hexdigest()
    assert list(found["files"]) == ["requirements.txt", "results/metrics.csv"]
    assert found["models"] == {"m": {"weights_sha256": "ab"}}
    assert found["packages"] == {
        "no-such-package": {"pinned": "1.2", "found": None},
        "pytest": {"pinned": "0.0.1", "found": pytest.__version__},
    }
    assert str(project) not in json.dumps(found)
    assert found["machine"]["cores"] >= 1 and found["machine"]["processor"]


def test_a_missing_file_is_an_error(project):
    with pytest.raises(FileNotFoundError, match="nothing"):
        P.record(project, project / "requirements.txt", [project / "nothing.csv"], {})


def test_gpus_are_what_the_driver_says(project, monkeypatch):
    tool = project / "nvidia-smi"
    lines = "NVIDIA X, 555.42, 81559 MiB\\nNVIDIA Y, 555.42, 24564 MiB\\n"
    tool.write_text(f"#!/bin/sh\nprintf '{lines}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{project}:/usr/bin:/bin")
    assert P.gpus() == [
        {"name": "NVIDIA X", "driver": "555.42", "memory": "81559 MiB"},
        {"name": "NVIDIA Y", "driver": "555.42", "memory": "24564 MiB"},
    ]
    tool.write_text("#!/bin/sh\necho 'no driver' >&2\nexit 9\n")
    assert P.gpus() == []
