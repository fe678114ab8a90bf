"""Metrics of sequences of batches: what holds of everything edited so far, and what is forgotten.

    scores after each batch --Measured--> --measured_sequence--> sequences.csv
                                      +--> request_values --> `sequence_intervals`
    sequences.csv --over_trials--> means

Requests are in three groups after batch b: "own" are those of batch b, "earlier" those of batches
1 to b - 1, whose values say what is retained, "all" those of batches 1 to b. Every fraction is that
of `metrics.mean_fractions`, on another set of requests.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pandas as pd

from modeledit.evaluation.aggregation import Averaging, aggregate
from modeledit.evaluation.metrics import (
    COLLAPSED_ABOVE,
    REQUEST_METRICS,
    Measured,
    Scoring,
    mean_fractions,
)
from modeledit.evaluation.schemas import SEQUENCE_METRICS, SEQUENCE_VALUES
from modeledit.io.frames import read_csv, require_columns
from modeledit.io.state import State
from modeledit.study.layout import SequenceKey

GROUPS = ("own", "earlier", "all")
SEQUENCE = SequenceKey._fields
CELL = ("dataset", "model", "method", "size")  # a sequence with its trials
NORMS = ("layer", "norm", "change")  # norms.csv


@dataclass(frozen=True)
class Batch:
    """What is known of the model after a batch, and how the batch ended."""

    measured: Measured  # of all requests edited so far
    state: State  # of its last iteration that edited
    norms: pd.DataFrame  # NORMS, a row per edited layer


def read_norms(path: Path) -> pd.DataFrame:
    """Read a batch's norms.csv; ValueError where it has no layer or lacks a column."""
    norms = read_csv(path)
    require_columns(norms, NORMS, str(path))
    if norms.empty:
        raise ValueError(f"{path}: no edited layer; make the batch's scores again")
    return norms


def edited_in(requests: Sequence[int], size: int, count: int) -> dict[int, int]:
    """The batch, from 1, that edits each request: ``count`` batches of ``size``, in order.

    Raises ValueError where the trial has fewer.
    """
    if len(requests) < size * count:
        raise ValueError(
            f"the trial has {len(requests)} requests, {count} batches of {size} need"
            f" {size * count}; lower batches.count or raise trials.size"
        )
    return {request: i // size + 1 for i, request in enumerate(requests[: size * count])}


def measured_sequence(
    unedited: Measured,
    batches: Mapping[int, Batch],
    members: Mapping[int, int],
    *,
    sequence: SequenceKey,
    scoring: Scoring,
) -> pd.DataFrame:
    """Rows of SEQUENCE_METRICS: of batch 0 the group "all", then three groups of each batch.

    ``members`` are those of `edited_in`. Batch 1 has no group "earlier". A batch is ``collapsed``
    if its state says so, or if ME-PPL is above COLLAPSED_ABOVE. Raises ValueError where the scores
    after a batch are not of the requests edited so far.
    """
    asked = unedited.requests[unedited.requests["request"].isin(list(members))]
    _require(asked, members, max(members.values()), f"{sequence}, the unedited model")
    rows = [
        _row(0, "all", asked, unedited.me_ppl, scoring)
        | {"iterations": 0, "norm_change": 0.0, "norm_change_mean": 0.0}
        | {"collapsed": unedited.me_ppl > COLLAPSED_ABOVE}
    ]
    for b, batch in sorted(batches.items()):
        values = batch.measured.requests
        _require(values, members, b, f"{sequence}, batch {b}")
        numbers = values["request"].map(members)
        groups = {"own": numbers == b, "earlier": numbers < b, "all": numbers <= b}
        state, change = batch.state, batch.norms["change"]
        ending = {"p_bar": state.p_bar, "p_hat": state.p_hat, "dp": state.dp}
        ending |= {"iterations": state.k, "norm_change": float(change.max(skipna=False))}
        ending |= {"norm_change_mean": float(change.mean(skipna=False))}
        me_ppl = batch.measured.me_ppl
        ending |= {"collapsed": state.collapsed is not None or me_ppl > COLLAPSED_ABOVE}
        rows += [
            _row(b, group, values[chosen], me_ppl, scoring) | ending
            for group, chosen in groups.items()
            if chosen.any()
        ]
    frame = pd.DataFrame([sequence._asdict() | row for row in rows])
    frame["edits"] = frame["batch"] * sequence.size
    return frame.reindex(columns=list(SEQUENCE_METRICS.names))


def _row(
    batch: int, group: str, values: pd.DataFrame, me_ppl: float, scoring: Scoring
) -> dict[str, object]:
    """The columns of a group's own."""
    row: dict[str, object] = {"batch": batch, "group": group, "n_requests": len(values)}
    return row | {"me_ppl": me_ppl} | mean_fractions(values, scoring, batch)


def _require(values: pd.DataFrame, members: Mapping[int, int], last: int, where: str) -> None:
    wanted = {request for request, batch in members.items() if batch <= last}
    if found := sorted(wanted.symmetric_difference(values["request"])):
        raise ValueError(
            f"{where}: the scores must be of the {len(wanted)} requests of batches 1 to {last};"
            f" see request {found[0]}; score the batch again"
        )


def request_values(
    unedited: Measured, batches: Mapping[int, Batch], members: Mapping[int, int]
) -> pd.DataFrame:
    """SEQUENCE_VALUES: each request before editing, and after each batch from its own on."""
    measured = {0: unedited} | {b: batch.measured for b, batch in sorted(batches.items())}
    frames = []
    for b, found in measured.items():
        values = found.requests[found.requests["request"].isin(list(members))]
        frames.append(values.assign(batch=b, edited_in=values["request"].map(members)))
    return pd.concat(frames, ignore_index=True)[list(SEQUENCE_VALUES.names)]


def read_sequences(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Metrics of sequences from one or more files; ValueError where a row occurs twice."""
    rows = pd.concat([SEQUENCE_METRICS.read_csv(path) for path in paths], ignore_index=True)
    keys = [*SEQUENCE, "batch", "group"]
    if not (repeated := rows[rows.duplicated(keys)]).empty:
        first = repeated.iloc[0][keys].to_dict()
        raise ValueError(f"sequences: the row {first} occurs twice in {[str(p) for p in paths]}")
    return rows


def read_values(paths: Sequence[Path]) -> pd.DataFrame:
    """Values of the requests of sequences, with the names of SEQUENCE as columns.

    The folders of the paths say them (`SequenceKey.of`).
    """
    frames = [SEQUENCE_VALUES.read(p).assign(**SequenceKey.of(p)._asdict()) for p in paths]
    columns = [*SEQUENCE, "request", "edited_in", "batch", *REQUEST_METRICS]
    return pd.concat(frames, ignore_index=True)[columns]


def by_sequence(rows: pd.DataFrame) -> Iterator[tuple[SequenceKey, pd.DataFrame]]:
    """The rows of every sequence, in the order in which they occur."""
    for key, found in rows.groupby(list(SEQUENCE), sort=False):
        yield SequenceKey(*cast(tuple[str, str, str, int, int], key)), found


def over_trials(sequences: pd.DataFrame, averaging: Averaging) -> pd.DataFrame:
    """Means over trials, a row per CELL, batch and group: columns as of `aggregation.aggregate`.

    And the means of ``iterations``, ``norm_change`` and ``norm_change_mean``, ``edits``, and
    ``collapsed``, whether any trial did. A trial that has no such batch yet takes no part.
    """
    by = ["size", "batch", "group"]
    # What `aggregate` asks of runs, and batches do not have.
    rows = sequences.assign(dp2=float("nan"), p_hat_before=float("nan"), stopped=False)
    means = aggregate(rows, by, averaging)
    more = sequences.groupby([*CELL, "batch", "group"], sort=False).agg(
        edits=("edits", "first"),
        iterations=("iterations", "mean"),
        norm_change=("norm_change", "mean"),
        norm_change_mean=("norm_change_mean", "mean"),
        collapsed=("collapsed", "any"),
    )
    return means.merge(more.reset_index(), on=[*CELL, "batch", "group"], validate="one_to_one")


def last_batch(sequences: pd.DataFrame) -> int:
    """The last batch that all of some sequences have."""
    return int(sequences.groupby(list(SEQUENCE))["batch"].max().min())
