"""A copy of the project in a temporary folder, and a way to run Snakemake in it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "config", "envs", "modeledit", "profiles", "scripts", "workflow")


@dataclass
class Project:
    """A runnable copy of the project."""

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]

    def snakemake(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        """Run Snakemake to its end; standard error is in `stdout`, in order."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | environment,
        )


@dataclass
class Observed:
    """A project with a study whose states were observed later; what the later run printed."""

    project: Project
    printed: str


def copy_project(folder: Path) -> Project:
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source, target = ROOT / part, folder / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return Project(folder)


@pytest.fixture(scope="session")
def untouched(tmp_path_factory) -> Project:
    """A copy in which nothing has run and nothing is to run: for plans and refusals."""
    return copy_project(tmp_path_factory.mktemp("untouched"))


@pytest.fixture(scope="session")
def smoke(tmp_path_factory) -> Project:
    """A copy in which config/smoke.yaml has run to its end, on the real model."""
    project = copy_project(tmp_path_factory.mktemp("smoke"))
    prepared = ROOT / "resources" / "models" / "smollm2-135m"
    if prepared.is_dir():  # spare the download and the conversion where they were done before
        shutil.copytree(prepared, project.folder / "resources" / "models" / prepared.name)
    done = project.snakemake("--configfile", "config/smoke.yaml")
    assert done.returncode == 0, done.stdout[-5000:]
    return project


@pytest.fixture(scope="session")
def observed(tmp_path_factory) -> Observed:
    """The tiny study run without the block `evaluation`, then with it."""
    from tests.workflow import tiny_study  # which needs this module

    project = tiny_study.tiny_project(tmp_path_factory.mktemp("behavior"))
    first = project.snakemake("metrics", *tiny_study.OPTIONS)
    assert first.returncode == 0, first.stdout[-5000:]
    tiny_study.write_probes(project)
    tiny_study.evaluate(project, **tiny_study.EVALUATION)
    second = project.snakemake("behavior", *tiny_study.OPTIONS)
    assert second.returncode == 0, second.stdout[-5000:]
    return Observed(project, second.stdout)
