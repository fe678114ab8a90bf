"""What a link of a run's chain of iterations is, and what it is computed from.

No torch is imported here: a link that comes after the stop only passes it on.
"""

from dataclasses import dataclass
from pathlib import Path

from modeledit.study.hyperparameters import Hyperparameters
from modeledit.study.methods import Method
from modeledit.study.settings import Compute, Stop
from modeledit.study.switches import EditingSwitches


@dataclass(frozen=True)
class Inputs:
    """Files that an iteration is computed from.

    `factors` are needed where the method writes with the covariance, `unedited` (scores) for
    specificity on the model's own answers, `previous` (state.json of k-1) for k > 1, and then by
    methods that repeat one stage also `previous_targets` and `previous_edits`.
    """

    requests: Path
    texts: Path
    model: Path  # folder
    contexts: Path
    factors: Path | None = None
    unedited: Path | None = None
    previous: Path | None = None
    previous_targets: Path | None = None
    previous_edits: Path | None = None


@dataclass(frozen=True)
class Link:
    """What iteration `k` does: the method with the model's hyperparameters, when to stop."""

    k: int
    method: Method
    hyper: Hyperparameters
    switches: EditingSwitches
    stop: Stop
    compute: Compute
