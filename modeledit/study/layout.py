"""Where everything of a study lies, and what a path says."""

from dataclasses import dataclass
from typing import NamedTuple


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
