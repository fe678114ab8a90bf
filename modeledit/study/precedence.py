"""Which job goes first where several could run now, as numbers: the larger one goes first.

Jobs that all others wait for go before the rest, what may refuse the data before long work, and of
the edits those whose run may be longest: its last iterations would otherwise keep one core busy
while the others have nothing left to do.
"""

from dataclasses import dataclass

from modeledit.study.config import Settings
from modeledit.study.layout import Sequence
from modeledit.study.methods import METHODS
from modeledit.study.settings import MOST_ITERATIONS


@dataclass(frozen=True)
class Precedence:
    """The order of a study's jobs."""

    settings: Settings

    prepare = 90
    eligible = 70
    contexts = 65
    observe = 15  # what no edit waits for

    @property
    def covariance(self) -> int:
        """Of gathering the covariance and of its factors, which every edit waits for.

        That of the excerpt takes about a minute and goes first, beside the checks of the data. What
        may take hours comes after them.
        """
        return 80 if self.settings.config.covariance.source == "embedded" else 60

    @property
    def unedited(self) -> int:
        """Of scoring the unedited model: late where neither edits nor long work wait for it."""
        waited_for = self.settings.switches.specificity_gt != "dataset"
        return self.eligible if waited_for or self.covariance < self.eligible else 10

    def edit(self, dataset: str, model: str, method: str, k: int) -> float:
        """Of iteration `k` of a run: by the iterations that may follow, at most 40.

        Within an iteration methods with neighbors in the loss, which takes longer, go first.
        """
        left = self.settings.stop(dataset, model, method).extended - k
        return 20 + 40 * left / MOST_ITERATIONS + 0.01 * METHODS[method].neighbor_assisted

    def batch(self, sequence: Sequence, batch: int, k: int) -> float:
        """Of iteration `k` of a batch, as of a run: by the iterations that may follow."""
        longest = self.settings.stop_of_batch(sequence).extended
        left = longest - k + longest * (sequence.count - batch)
        return 20 + min(40.0, 40 * left / MOST_ITERATIONS)
