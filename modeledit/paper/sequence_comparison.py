"""Sequences of batches beside what others published of them, one row per published cell.

A cell is only set against sequences of the same model, dataset, method, size of a batch and number
of edits, each batch edited once, as published. What a small model does never stands beside these
numbers.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from modeledit.evaluation.metrics import REQUEST_METRICS
from modeledit.paper.comparison import DIFFERS, MATCH, NOT_COMPARABLE, NOT_RUN, TOLERANCES
from modeledit.paper.published import UNEDITED
from modeledit.study.switches import Switches

SEQUENCE_COMPARISON = (
    "source", "dataset", "model", "method", "size", "edits", "metric", "published", "ours",
    "difference", "n_trials", "low", "high", "tolerance", "verdict", "reason",
)  # fmt: skip
_KEYS = ["dataset", "model", "method", "size"]

Row = Mapping[Hashable, Any]


@dataclass(frozen=True)
class Ours:
    """What was measured: rows of `sequences.over_trials` and of `sequence_intervals`, the switches,
    and where each dataset comes from."""

    means: pd.DataFrame
    intervals: pd.DataFrame
    switches: Switches
    sources: Mapping[str, str]

    def at(self, anchor: Row) -> pd.DataFrame:
        """Our rows of an anchor's dataset, model, method and size; "Unedited" is any method's."""
        wanted = (self.means["group"] == "all") & (
            (self.means["batch"] == 0)
            if anchor["method"] == UNEDITED
            else (self.means["method"] == anchor["method"])
        )
        for name in ("dataset", "model", "size"):
            wanted &= self.means[name] == anchor[name]
        return self.means[wanted]

    def interval(self, row: Row, metric: str) -> tuple[float, float]:
        """The 95% interval of a row's metric; NaN where it has none."""
        wanted = (self.intervals["kind"] == "mean") & (self.intervals["metric"] == metric)
        for name in (*_KEYS, "batch", "group"):
            wanted &= self.intervals[name] == row[name]
        found = self.intervals.loc[wanted, ["low", "high"]].to_numpy()
        return (float(found[0, 0]), float(found[0, 1])) if len(found) else (np.nan, np.nan)


def compare_sequences(ours: Ours, anchors: pd.DataFrame) -> pd.DataFrame:
    """Set our sequences against the ``anchors`` of `published.read_sequences`.

    Returns SEQUENCE_COMPARISON: the verdict is MATCH, DIFFERS, NOT_RUN or NOT_COMPARABLE, and the
    columns about ours are missing for the last two. Tolerances are those of `comparison`.
    """
    rows = []
    for anchor in anchors.to_dict("records"):
        for metric in REQUEST_METRICS:
            if not np.isnan(anchor[metric]):
                rows.append(_judged(anchor, metric, ours))
    frame = pd.DataFrame(rows, columns=list(SEQUENCE_COMPARISON))
    numbers = ("ours", "difference", "low", "high")
    return frame.astype({"n_trials": "Int64"} | dict.fromkeys(numbers, float))


def _judged(anchor: Row, metric: str, ours: Ours) -> dict[str, object]:
    """A row of the comparison."""
    said = {name: anchor[name] for name in ("source", *_KEYS, "edits")}
    said |= {"metric": metric, "published": anchor[metric], "tolerance": str(TOLERANCES[metric])}
    rows = ours.at(anchor)
    if absent := _absent(anchor, metric, rows, ours):
        return said | {"verdict": absent[0], "reason": absent[1]}
    row = _ending(anchor, rows).iloc[-1].to_dict()
    value, (low, high) = float(row[metric]), ours.interval(row, metric)
    agrees = TOLERANCES[metric].admits(anchor[metric], value)
    return said | {
        "ours": value,
        "difference": value - anchor[metric],
        "n_trials": int(row["n_trials"]),
        "low": low,
        "high": high,
        "verdict": MATCH if agrees else DIFFERS,
        "reason": "",
    }


def _ending(anchor: Row, rows: pd.DataFrame) -> pd.DataFrame:
    """Those of our rows that are about as many requests; the one of most trials is the last."""
    if anchor["method"] == UNEDITED:
        rows = rows[rows["n_requests"] == anchor["edits"]]
    else:
        rows = rows[rows["edits"] == anchor["edits"]]
    return rows.sort_values("n_trials", kind="stable")


def _absent(anchor: Row, metric: str, rows: pd.DataFrame, ours: Ours) -> tuple[str, str] | None:
    """Verdict and reason where no value of ours may stand beside the published one, else None."""
    dataset, model, method, size = (anchor[name] for name in _KEYS)
    if rows.empty:
        return NOT_RUN, f"no {method} with {model} on {dataset} in batches of {size}"
    if (source := ours.sources.get(dataset, dataset)) != dataset:
        return NOT_COMPARABLE, f"our {dataset} comes from {source}"
    ending = _ending(anchor, rows)
    if ending.empty:
        return NOT_RUN, f"ours have {rows['edits'].max()} edits, {anchor['edits']} are published"
    most = rows.loc[rows["edits"] <= anchor["edits"], "iterations"].max()
    if most > 1:
        return NOT_COMPARABLE, f"our batches took up to {most:g} iterations, the published ones one"
    if metric.endswith("_acc") and ours.switches.accuracy != "token":
        return NOT_COMPARABLE, "published are accuracies of tokens; ours, of whole objects"
    if metric == "spec_acc":
        return NOT_COMPARABLE, "published is accuracy of the true answer; ours, agreement"
    if metric == "spec_succ" and ours.switches.specificity_gt != "dataset":
        return NOT_COMPARABLE, "ours is on the unedited model's own answers"
    if np.isnan(ending.iloc[-1][metric]):
        return NOT_RUN, "not measured"
    return None
