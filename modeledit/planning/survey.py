"""The facts behind a plan: what a study has left on disk, earlier jobs, and this machine."""

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from huggingface_hub import get_token

from modeledit.evaluation.aggregation import picks
from modeledit.io.files import read_json
from modeledit.io.state import read_state
from modeledit.paper.published import as_metrics
from modeledit.planning.plan import Chain, Measured, Picks
from modeledit.planning.preflight import Machine
from modeledit.study.layout import ITERATION, Run, iteration_of
from modeledit.study.stopping import Rule

ANY_ITERATION = re.sub(r"{\w+}", "*", ITERATION)
TREND_TABLES = (6, 7, 8, 9)  # the published tables that have every iteration


def chain_of(run: Run, requests: Path, states: Sequence[Path], most: int) -> Chain:
    """A run and what is there of it: `states` are the files that its iterations leave.

    It has as many requests as the file says; before there is one, `most`.
    """
    found = [read_state(path) for path in states if path.exists()]
    if requests.exists():
        with requests.open(encoding="utf-8") as stream:
            most = sum(1 for _ in stream)
    edited = sum(not state.passed_on for state in found)
    stopped = any(state.stopped for state in found)
    return Chain(run, len(states), len(found), edited, stopped, most)


def earlier_jobs(results: Path) -> list[Measured]:
    """The edit jobs of all studies below `results`, but those that only passed a stop on."""
    jobs = []
    for path in sorted(results.glob(f"*/{ANY_ITERATION}/hardware.json")):
        if used := read_json(path):
            run = iteration_of(path)[0][:3]  # dataset, model, method
            steps = pd.read_parquet(path.with_name("edits.parquet"), columns=["steps"])["steps"]
            jobs.append(
                Measured(*run, used["device"], used["seconds"], len(steps), float(steps.mean()))
            )
    return jobs


def published_stops() -> Picks:
    """When the paper's runs met its rule, by dataset, model and method (SPEC C.5)."""
    found = picks(as_metrics(TREND_TABLES), Rule("mean"))  # what is printed are means
    return {cell: of_cell["proposed"].row for cell, of_cell in found.items()}


def this_machine(folders: Iterable[Path], offline: bool, at_once: int) -> Machine:
    """What there is here; `folders` are those that the study uses, there or not."""
    import torch

    gpu = torch.cuda.is_available()
    return Machine(
        gpu=torch.cuda.get_device_name() if gpu else None,
        device_bytes=torch.cuda.get_device_properties(0).total_memory if gpu else None,
        host_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        free_bytes=shutil.disk_usage(".").free,
        used_bytes=sum(map(_size, folders)),
        token=get_token() is not None,
        latex=bool(shutil.which("pdflatex") or shutil.which("tectonic")),
        offline=offline,
        at_once=at_once,
    )


def busy() -> bool:
    """Whether other work takes more than half of the machine."""
    return os.getloadavg()[0] > (os.cpu_count() or 1) / 2


def _size(folder: Path) -> int:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files)
