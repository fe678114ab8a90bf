"""Jobs of a run as they were, to be done again one at a time, in this process and in seconds.

Snakemake takes seconds to start and every job imports its libraries anew. A job's script is a file
that is given an object `snakemake`: a run can be asked to leave these objects, and the script can
be given one again.
"""

import ast
import contextlib
import io
import os
import pickle
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeledit.study.layout import IterationFiles
from tests.workflow.conftest import Project

_RECORDER = """
import atexit, os, shutil, sys

def leave():
    main = sys.modules["__main__"]
    if hasattr(getattr(main, "snakemake", None), "input"):
        shutil.copy(main.__real_file__, {folder!r})

atexit.register(leave)
"""


@dataclass(frozen=True)
class Job:
    """A job of a run: its script's name, and what Snakemake gave it."""

    script: str
    given: Any

    @property
    def outputs(self) -> list[str]:
        """What it leaves, as paths below the project."""
        return [str(path) for path in self.given.output]

    @property
    def reads(self) -> set[str]:
        """Files and folders that it reads: its inputs, and what its library finds beside them."""
        found = {str(path) for path in self.given.input}
        if self.script == "edit" and self.given.input.get("previous"):
            before = IterationFiles.below(Path(str(self.given.input.previous)).parent)
            found.add(str(before.edited))
        if self.script == "export_model":
            found.add(str(Path(str(self.given.input.state)).with_name("edited.safetensors")))
        if self.script == "render_report":
            for values in self.given.input["values"]:
                for name in ("scores.parquet", "edits.parquet"):
                    found |= {str(path) for path in Path(values).parent.glob(f"iter*/{name}")}
        return found

    def run(self, project: Path) -> None:
        """Do it again in `project`, the folder that is worked in; raises what the script raises."""
        script = project / "scripts" / f"{self.script}.py"
        silent = io.StringIO()
        with contextlib.redirect_stderr(silent), contextlib.redirect_stdout(silent):
            try:
                runpy.run_path(str(script), {"snakemake": self.given}, "__main__")
            except SystemExit as end:  # how a refusal ends a script
                raise end.__cause__ or end from None


def _job_of(path: Path) -> Job:
    """The job whose script Snakemake wrote as tmp….{name}.py, with what it is given in front."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    (given,) = (call.args[0].value for call in calls if ast.unparse(call.func) == "pickle.loads")
    return Job(path.name.split(".")[-2], pickle.loads(given))


def run_recorded(project: Project, *arguments: str) -> list[Job]:
    """Run Snakemake to its end in `project`, and return the jobs that it did, in no order."""
    recorder, left = project.folder / "tmp/recorder", project.folder / "tmp/recorded"
    for folder in (recorder, left):
        folder.mkdir(parents=True, exist_ok=True)
    (recorder / "sitecustomize.py").write_text(_RECORDER.format(folder=str(left)))
    done = project.snakemake(*arguments, PYTHONPATH=str(recorder))
    assert done.returncode == 0, done.stdout[-5000:]
    sys.path.insert(0, str(project.folder))
    try:
        jobs = [_job_of(path) for path in sorted(left.glob("*.py"))]
    finally:
        sys.path.remove(str(project.folder))
    assert jobs, os.listdir(left)
    return jobs
