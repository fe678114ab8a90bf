"""How sure the fractions of sequences of batches are: a bootstrap over requests within trials.

Two kinds of rows. "mean": an interval around the mean over trials of a method, after every batch,
of the groups "all" and "earlier", and after the last batch also of the requests of every batch for
themselves, the group "edited_in", which makes a curve of forgetting. "difference": a method minus
another one after the last batch that both have, on the same requests, resampled in pairs.

Trials, random streams and scores are those of `significance`; what such intervals leave out is said
there. The requests of a sequence share their writes, too.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, cast

import numpy as np
import pandas as pd

from modeledit.evaluation.metrics import REQUEST_METRICS, Zeros
from modeledit.evaluation.resampling import (
    PAIRED,
    Resampling,
    averaged,
    bootstrap,
    means,
    stream,
)
from modeledit.evaluation.sequences import CELL, last_batch
from modeledit.evaluation.significance import paired
from modeledit.study.methods import METHODS

SEQUENCE_INTERVALS = (
    "kind", "dataset", "model", "size", "method", "against", "batch", "edits", "group",
    "edited_in", "metric", "n_requests", "n_trials", "mean", "low", "high",
)  # fmt: skip
Group = Literal["all", "earlier", "edited_in"]


@dataclass(frozen=True)
class _Place:
    """Some requests after some batch."""

    batch: int
    group: Group
    edited_in: int | None = None

    def of(self, values: pd.DataFrame) -> pd.DataFrame:
        """REQUEST_METRICS by request; empty where the place is not there."""
        rows = values[values["batch"] == self.batch]
        if self.group == "earlier":
            rows = rows[rows["edited_in"] < self.batch]
        if self.group == "edited_in":
            rows = rows[rows["edited_in"] == self.edited_in]
        return rows.set_index("request")[list(REQUEST_METRICS)].sort_index()


def sequence_intervals(
    values: pd.DataFrame, *, zeros: Zeros, resampling: Resampling
) -> pd.DataFrame:
    """Rows of SEQUENCE_INTERVALS from the values of `sequences.read_values`.

    ``mean`` is that of the trials, of a difference ``method`` minus ``against``; ``n_requests``
    counts the requests of all trials. A metric without a value has no row.
    """
    found = [*_means(values, zeros, resampling), *_differences(values, zeros, resampling)]
    frame = pd.DataFrame(found, columns=list(SEQUENCE_INTERVALS))
    return frame.astype({"edited_in": "Int64"})


def _means(values: pd.DataFrame, zeros: Zeros, resampling: Resampling) -> Iterator[dict]:
    for key, of_cell in values.groupby(list(CELL), sort=False):
        names = dict(zip(CELL, cast(tuple, key), strict=True))
        last = last_batch(of_cell)
        batches = sorted(int(b) for b in of_cell["batch"].unique() if b > 0)
        groups: tuple[Group, ...] = ("all", "earlier")
        places = [_Place(b, group) for b in batches for group in groups]
        places += [_Place(last, "edited_in", b) for b in range(1, last + 1)]
        for place in places:
            trials = {
                cast(int, trial): found.to_numpy()
                for trial, rows in of_cell.groupby("trial")
                if not (found := place.of(rows)).empty
            }
            head = {"kind": "mean", "against": ""} | names
            yield from _rows(head, place, trials, zeros, resampling, lambda s: s)


def _differences(values: pd.DataFrame, zeros: Zeros, resampling: Resampling) -> Iterator[dict]:
    keys = ["dataset", "model", "size"]
    for key, of_model in values.groupby(keys, sort=False):
        for against, method in combinations(_ordered(of_model["method"].unique()), 2):
            both = of_model[of_model["method"].isin((method, against))]
            last = last_batch(both)
            groups: tuple[Group, ...] = ("all", "earlier")
            for place in (_Place(last, group) for group in groups):
                sides = {
                    cast(int, trial): paired(
                        place.of(rows[rows["method"] == method]),
                        place.of(rows[rows["method"] == against]),
                    )
                    for trial, rows in both.groupby("trial")
                }
                trials = {trial: pairs for trial, pairs in sides.items() if len(pairs)}
                head = {"kind": "difference", "method": method, "against": against}
                head |= dict(zip(keys, cast(tuple, key), strict=True))
                yield from _rows(
                    head, place, trials, zeros, resampling, lambda s: s[..., 0, :] - s[..., 1, :]
                )


def _ordered(methods: Iterable[str]) -> list[str]:
    """The methods as in METHODS, but those that write into the null space last."""
    order = {name: i for i, name in enumerate(METHODS)}
    return sorted(methods, key=lambda m: (METHODS[m].protects == "null_space", order[m]))


def _rows(
    head: dict,
    place: _Place,
    trials: dict[int, np.ndarray],
    zeros: Zeros,
    resampling: Resampling,
    contrast: Callable[[np.ndarray], np.ndarray],
) -> Iterator[dict]:
    """A row per metric, from the values (requests, ..., REQUEST_METRICS) of each trial."""
    if not trials or place.batch == 0:
        return
    arrays = list(trials.values())
    mean = contrast(averaged([means(one) for one in arrays], zeros))
    streams = [stream(resampling.seed, head["dataset"], head["model"], t) for t in trials]
    width = (resampling.resamples, resampling.confidence)
    low, high = bootstrap(arrays, streams, zeros, *width, contrast)
    head = head | {"batch": place.batch, "edits": place.batch * head["size"]}
    head |= {"group": place.group, "edited_in": place.edited_in}
    head |= {"n_requests": sum(map(len, arrays)), "n_trials": len(arrays)}
    for j, metric in enumerate(PAIRED):
        if not np.isnan(mean[j]):
            yield head | {"metric": metric, "mean": mean[j], "low": low[j], "high": high[j]}
