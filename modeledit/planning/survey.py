"""A plan from the facts: what a study has left on disk, earlier jobs, and this machine."""

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import get_token

from modeledit.evaluation.aggregation import picks
from modeledit.evaluation.schemas import EDITS
from modeledit.fetch.download import offline_folder
from modeledit.io.hardware import read_hardware
from modeledit.io.state import read_state
from modeledit.paper.published import as_metrics
from modeledit.planning.batches import BatchState, SequenceChain
from modeledit.planning.costs import probe
from modeledit.planning.edits import Measured, Progress
from modeledit.planning.plan import Chain, Picks, make_plan
from modeledit.planning.plan_text import describe
from modeledit.planning.preflight import Machine, missing
from modeledit.study.config import Settings
from modeledit.study.inventory import Inventory
from modeledit.study.layout import (
    BATCH_ITERATION,
    ITERATION,
    IterationFiles,
    Run,
    Sequence,
    iteration_of,
)
from modeledit.study.models import FolderSource
from modeledit.study.stopping import Rule

ANY_ITERATION, ANY_OF_BATCHES = (
    re.sub(r"{\w+}", "*", folder) for folder in (ITERATION, BATCH_ITERATION)
)
TREND_TABLES = (6, 7, 8, 9)  # the published tables that have every iteration


@dataclass(frozen=True)
class Survey:
    """What a study will cost: as text for a reader, and as plain data."""

    text: str
    facts: dict[str, Any]


def survey(study: Inventory, paper: Iterable[Path]) -> Survey:
    """Plan a study from what is there of it, earlier jobs, and this machine's speed.

    `paper` are the files of tables, figures and the report.
    """
    settings, folder = study.settings, Path(study.files.results)
    compute, loaded = settings.config.compute, busy()
    jobs = {job: study.exists(job.file) for job in study.jobs()}
    machine = this_machine(
        [folder, Path("resources")],
        offline_folder(settings.config.offline) is not None,
        max(1, (os.cpu_count() or 1) // compute.threads),
    )
    speeds = {}
    if compute.device != "cuda" or machine.gpu:
        speeds = probe(
            settings.models,
            compute.device,
            compute.threads,
            compute.precision,
            compute.most_tokens(gpu=machine.computes_on_gpu(compute.device)),
        )
    plan = make_plan(
        settings,
        jobs,
        [path.exists() for path in paper],
        chains(study),
        earlier_jobs(folder.parent),
        published_stops(),
        speeds,
        sequences(study),
    )
    lacking = missing(settings, machine, plan.disk_most, jobs, model_folders(settings))
    facts = asdict(plan) | {
        "machine": asdict(machine),
        "missing": lacking,
        "speeds": {name: asdict(speed) for name, speed in speeds.items()},
        "hours": {"expected": plan.hours(), "most": plan.hours(most=True)},
    }
    return Survey(describe(plan, machine, compute, speeds, lacking, loaded), facts)


def chains(study: Inventory) -> list[Chain]:
    """All runs of a study, and what is there of each."""
    return [
        chain_of(
            run,
            Path(study.requests_of(run)),
            [Path(state) for state in study.states(run)],
            study.settings.most_requests(run.dataset, run.model),
        )
        for run in study.settings.runs
    ]


def sequences(study: Inventory) -> list[SequenceChain]:
    """All sequences of batches of a study, and what is there of each."""
    return [sequence_of(study, sequence) for sequence in study.settings.sequences]


def sequence_of(study: Inventory, sequence: Sequence) -> SequenceChain:
    """A sequence of batches and what is there of it."""
    state = study.files.batch_iteration_files["state"]
    ks = study.batch_iterations(sequence)
    batches = []
    for number in range(1, sequence.count + 1):
        names = {**sequence.key._asdict(), "batch": number}
        left, scored = (
            Path(study.files.batch(file).format(**names)).exists()
            for file in ("state.json", "scores.parquet")
        )
        states = [Path(state.format(**names, k=k)) for k in ks]
        batches.append(BatchState(progress_of(states), left, scored))
    most = study.settings.most_requests(sequence.dataset, sequence.model)
    requests = count_requests(Path(study.requests_of(sequence)), most)
    return SequenceChain(sequence, tuple(batches), requests)


def model_folders(settings: Settings) -> dict[str, bool]:
    """Whether the folder of each model that comes from one is there."""
    return {
        name: Path(model.source.path).is_dir()
        for name, model in settings.models.items()
        if isinstance(model.source, FolderSource)
    }


def chain_of(run: Run, requests: Path, states: Iterable[Path], most: int) -> Chain:
    """A run and what is there of it: `states` are the files that its iterations leave.

    It has as many requests as the file says; before there is one, `most`.
    """
    return Chain(run, **vars(progress_of(states)), requests=count_requests(requests, most))


def progress_of(states: Iterable[Path]) -> Progress:
    """How far a run or a batch is, by the files that its iterations leave."""
    paths = list(states)
    found = [read_state(path) for path in paths if path.exists()]
    edited = sum(not state.passed_on for state in found)
    return Progress(len(paths), len(found), edited, any(state.stopped for state in found))


def count_requests(path: Path, most: int) -> int:
    """How many requests a file has; before there is one, `most`."""
    if not path.exists():
        return most
    with path.open(encoding="utf-8") as stream:
        return sum(1 for _ in stream)


def earlier_jobs(results: Path) -> list[Measured]:
    """The edit jobs of all studies below `results`, but those that only passed a stop on."""
    jobs = []
    for pattern, scored in ((ANY_ITERATION, True), (ANY_OF_BATCHES, False)):
        for path in sorted(results.glob(f"*/{pattern}/hardware.json")):
            if used := read_hardware(path):
                run = iteration_of(path)[0][:3]  # dataset, model, method
                steps = EDITS.read(IterationFiles.below(path.parent).edits, ["steps"])["steps"]
                made = len(steps), float(steps.mean())
                jobs.append(Measured(*run, used.device, used.seconds, *made, scored))
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
