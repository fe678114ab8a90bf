"""Where everything of a study lies, and what a path says."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

# With Snakemake's wildcards, below results/{name}/. Nothing else builds or reads these names.
RUN = "{dataset}/{model}/{method}/trial{trial}"
ITERATION = RUN + "/iter{k}"
EDITS, SCORES, STATE = "edits.parquet", "scores.parquet", "state.json"  # of an iteration


@dataclass(frozen=True)
class Run:
    """One chain of iterations: dataset x model x method x trial.

    `iterations` is the length that its block of the configuration gives it; None leaves it to
    `stop`.
    """

    dataset: str
    model: str
    method: str
    trial: int
    iterations: int | None = None


class RunKey(NamedTuple):
    """Names of a run, as in metrics.csv."""

    dataset: str
    model: str
    method: str
    trial: int

    def __str__(self) -> str:
        """Its folder below results/{name}/."""
        return RUN.format(**self._asdict())

    @classmethod
    def of(cls, path: Path) -> "RunKey":
        """The run that a folder `RUN`, or anything below it, belongs to; ValueError if to none."""
        for folder in (path, *path.parents):
            found = re.fullmatch(r"trial(\d+)", folder.name)
            names = folder.parts[-4:-1]
            if found and len(names) == 3:
                return cls(*names, int(found[1]))
        raise ValueError(f"{path}: the path must hold <dataset>/<model>/<method>/trial<t>")


def iteration_of(path: Path) -> tuple[RunKey, int]:
    """The run and the k of a folder `ITERATION`, or of anything in it; else ValueError."""
    for folder in (path, *path.parents):
        if found := re.fullmatch(r"iter(\d+)", folder.name):
            return RunKey.of(folder.parent), int(found[1])
    raise ValueError(f"{path}: the path must hold <dataset>/<model>/<method>/trial<t>/iter<k>")


def iteration_folder(run: Path, k: int) -> Path:
    """Folder of iteration k of the run whose folder is `run`."""
    return run / f"iter{k}"
