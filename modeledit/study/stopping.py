"""When to stop iterating: the paper's rule, its two alternatives, and the iteration budget.

Everything here is a pure function of the numbers already measured. Sequences hold the values of
iterations 1, 2, ... in order (item 0 belongs to k = 1), and row k is the model *after* iteration
k. A value is ``None`` or NaN when it was not measured and infinite when the model collapsed;
neither ever counts as converged.

Where several trials were run, the switch ``stop_row`` decides whose values these are:

- ``mean``: those of the means over trials, with trials that stopped earlier carried forward. The
  paper prints its tables that way.
- ``trial``: each run's own. A run decides by its own numbers when it stops, and in a mean, trials
  of opposite sign can cancel.

`aggregation.picks` is the one place that applies it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

EPSILON = 1.0  # the paper's epsilon for |dp_k|, and its threshold for the small change
BASE_ITERATIONS = 5
EXTENDED_ITERATIONS = 10

Value = float | None
Mode = Literal["early", "full"]
StopRow = Literal["mean", "trial"]
CRITERIA = ("proposed", "monotonic", "small_change")


@dataclass(frozen=True)
class Rule:
    """The paper's rule, |dp_k| <= epsilon, and whose |dp_k| has to meet it (the switch)."""

    stop_row: StopRow
    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        if self.stop_row not in ("mean", "trial"):
            raise ValueError(f"stop_row: {self.stop_row!r} is neither 'mean' nor 'trial'")


def proposed(dp: Sequence[Value], epsilon: float = EPSILON) -> int | None:
    """First k with dp_k <= epsilon (the paper's criterion, section 3.1; SPEC C.4), or None.

    The first one counts even if dp rises again later, as it does in the paper (SPEC C.5).
    """
    return next((k for k, value in _numbered(dp) if value <= epsilon), None)


def monotonic(dp: Sequence[Value]) -> int | None:
    """The k before |dp| first fails to decrease, or None if it decreases throughout (SPEC C.4).

    Iteration k + 1 is compared with k and the row *before* the increase is returned, so the
    caller needs the weights of the previous iteration. A tie is no decrease. An unmeasured value
    is no evidence of an increase; an infinite one is.
    """
    for (k, before), (_, after) in pairwise(_numbered(dp)):
        if after >= before and math.isfinite(before):
            return k
    return None


def small_change(dp2: Sequence[Value]) -> int | None:
    """First k >= 2 with dp2_k = |p_hat_k - p_hat_{k-1}| <= 1, or None (SPEC C.4).

    The change from the unedited model, at k = 1, is not considered.
    """
    return next((k for k, value in _numbered(dp2) if k > 1 and value <= EPSILON), None)


def budget(base: int = BASE_ITERATIONS, extended: int = EXTENDED_ITERATIONS) -> int:
    """The most iterations a run may take, which is the length of its chain of jobs (SPEC C.1).

    Raises ValueError unless 1 <= base <= extended.
    """
    if not 1 <= base <= extended:
        raise ValueError(
            f"iteration budget: base={base} and extended={extended} must satisfy"
            " 1 <= base <= extended"
        )
    return extended


def should_continue(
    k: int,
    dp: Sequence[Value],
    mode: Mode = "full",
    epsilon: float = EPSILON,
    base: int = BASE_ITERATIONS,
    extended: int = EXTENDED_ITERATIONS,
) -> bool:
    """Whether iteration k + 1 is to be run after k iterations with differences dp_1 ... dp_k.

    ``early`` stops at the proposed rule or at ``extended`` iterations. ``full`` always runs
    ``base`` iterations, to show the trend, and goes on to ``extended`` only while the rule has
    never been met (SPEC C.1). ``k = 0`` asks for the first iteration; values beyond k are ignored.

    Raises ValueError for an unknown mode, a bad budget, or fewer than k values in ``dp``.
    """
    if mode not in ("early", "full"):
        raise ValueError(f"stop.mode: {mode!r} is neither 'early' nor 'full'")
    if not 0 <= k <= len(dp):
        raise ValueError(f"after {k} iterations {k} values of |dp| are needed, got {len(dp)}")
    if k >= budget(base, extended):
        return False
    if mode == "full" and k < base:
        return True
    return proposed(dp[:k], epsilon) is None


def _numbered(values: Sequence[Value]) -> list[tuple[int, float]]:
    """(k, |value|) from k = 1; NaN for None, so that every comparison with it is false."""
    return [(k, math.nan if v is None else abs(float(v))) for k, v in enumerate(values, start=1)]
