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

    `factors` or `null_spaces` are needed as the method writes with the covariance, `texts` where an
    iteration is scored, and `unedited` (scores) for specificity on the model's own answers.
    `previous` (state.json) and `previous_edited` are of iteration k-1, of a batch's first iteration
    those that the batch before left; methods that repeat one stage also need `previous_targets` and
    `previous_edits`. `earlier_keys` are those of earlier iterations and batches that are kept in
    place.
    """

    requests: Path
    texts: Path | None
    model: Path  # folder
    contexts: Path
    factors: Path | None = None
    unedited: Path | None = None
    null_spaces: Path | None = None
    previous: Path | None = None
    previous_edited: Path | None = None
    earlier_keys: tuple[Path, ...] = ()
    previous_targets: Path | None = None
    previous_edits: Path | None = None


@dataclass(frozen=True)
class Batch:
    """A batch of a sequence: requests (number - 1) * size to number * size of the trial."""

    number: int  # from 1
    size: int


@dataclass(frozen=True)
class Link:
    """What iteration `k` does: the method with the model's hyperparameters, when to stop.

    Without a `batch` all requests are edited at once, and each iteration is scored.
    """

    k: int
    method: Method
    hyper: Hyperparameters
    switches: EditingSwitches
    stop: Stop
    compute: Compute
    batch: Batch | None = None
