"""Whose keys an update keeps in place besides those that it writes (SPEC I25, K.2 D3)."""

from collections.abc import Sequence
from typing import NamedTuple

from modeledit.study.methods import KeyCache


class Written(NamedTuple):
    """Keys that an earlier iteration wrote; of `k` None, those that a whole batch left."""

    batch: int
    k: int | None


def earlier_keys(kept: KeyCache, batch: int, k: int, iterations: Sequence[int]) -> list[Written]:
    """What iteration `k` of a batch keeps in place, in the order in which it was written.

    `iterations` are those that each batch may have; what comes after a stop wrote nothing.
    "other_batches" takes each earlier batch once, as its last iteration left it, and is the same
    in all iterations of a batch; "released" every iteration before, of the same batch too.
    """
    if kept == "other_batches":
        return [Written(b, None) for b in range(1, batch)]
    if kept == "released":
        before = [Written(b, j) for b in range(1, batch) for j in iterations]
        return before + [Written(batch, j) for j in iterations if j < k]
    return []
