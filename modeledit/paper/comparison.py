"""Our results beside the paper's, one row per published cell (SPEC J.2).

A cell is only set against a run of the same model, dataset and method with about as many requests;
a small model's numbers never appear beside the paper's. Where the paper's own cell cannot be
trusted (`published.suspicion`), the row says so instead of blaming our result.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pandas as pd

from modeledit.evaluation.aggregation import TrialAgg, by_iteration, picks
from modeledit.evaluation.metrics import COLLAPSED_ABOVE, METRICS, RUN, Zeros
from modeledit.io.frames import require_columns
from modeledit.paper.published import UNEDITED, Suspect, Suspicion, suspicion
from modeledit.study import stopping
from modeledit.study.config import ELIGIBLE

TABLES = (1, 2, 3, 4, 6, 7, 8, 9, 10)
COLUMNS = (
    "table", "dataset", "model", "method", "k", "metric", "published", "ours", "difference",
    "n_trials", "sd", "low", "high", "tolerance", "verdict", "reason",
)  # fmt: skip
MATCH, DIRECTION, DIFFERS = "match", "direction only", "differs"
NOT_RUN, NOT_COMPARABLE, SUSPECT = "not run", "not comparable", "published cell suspect"
VERDICTS = (MATCH, DIRECTION, DIFFERS, NOT_RUN, NOT_COMPARABLE, SUSPECT)
SIZES = (0.5, 2.0)  # our number of requests, as a share of the paper's, that may be compared
PRINTED = 0.005  # half of the last digit of a printed perplexity

_RUN = ["dataset", "model", "method"]


@dataclass(frozen=True)
class Tolerance:
    """How far our value may be from a published one."""

    kind: Literal["absolute", "relative", "factor"]
    amount: float
    source: str

    def __str__(self) -> str:
        return {
            "absolute": f"{100 * self.amount:g} pp",
            "relative": f"{100 * self.amount:g} %",
            "factor": f"factor {self.amount:g}",
        }[self.kind]

    def admits(self, published: float, ours: float) -> bool:
        """Whether the two values agree; for "factor" both count as at least PRINTED."""
        slack = 1 + 1e-9  # the edge belongs to the tolerance, whatever its last bit says
        if self.kind == "factor":
            low, high = sorted(max(abs(value), PRINTED) for value in (published, ours))
            return high <= self.amount * low * slack
        scale = abs(published) if self.kind == "relative" else 1.0
        return abs(ours - published) <= self.amount * scale * slack


_SCORE = Tolerance("absolute", 0.02, "SPEC J.2, item 2")
_FRACTION = Tolerance("absolute", 0.03, "SPEC J.2, item 3")
_ORDER = Tolerance("factor", 10.0, "SPEC J.2, item 7; P17")
TOLERANCES: dict[str, Tolerance] = {
    "eff_acc": _SCORE,
    "eff_succ": _SCORE,
    "gen_acc": _FRACTION,
    "gen_succ": _FRACTION,
    "spec_acc": _FRACTION,
    "spec_succ": _FRACTION,
    "score_acc": _SCORE,
    "score_succ": _SCORE,
    "me_ppl": Tolerance("relative", 0.02, "SPEC J.2, item 5"),
    "p_bar": Tolerance("relative", 0.05, "SPEC J.2, item 6"),
    "p_hat": _ORDER,
    "dp": _ORDER,
    "dp2": _ORDER,
}
COLLAPSED = f"same side of {COLLAPSED_ABOVE:g}"  # of a published collapse: SPEC J.2, item 4


class _Cell(NamedTuple):
    """A published cell: where it is printed, its value, what is known against it."""

    row: Mapping
    metric: str
    value: float
    known: list[Suspicion]

    @property
    def place(self) -> tuple:
        return tuple(self.row[name] for name in (*_RUN, "k"))

    @property
    def doubtful(self) -> bool:
        return any(found.weight == "suspect" for found in self.known)


def compare(
    metrics: pd.DataFrame,
    published: pd.DataFrame,
    suspects: Sequence[Suspect],
    *,
    comparable: Mapping[str, bool],
    sources: Mapping[str, str] | None = None,
    intervals: pd.DataFrame | None = None,
    epsilon: float = stopping.EPSILON,
    trial_agg: TrialAgg = "mean_of_scores",
    round_per_trial: int | None = None,
    zeros: Zeros = "keep",
) -> pd.DataFrame:
    """Set the metrics of all runs against every non-blank cell of the published TABLES.

    ``published`` and ``suspects`` are those of `published`. ``comparable`` says of each model
    whether it may be compared at all, ``sources`` where each dataset comes from (default: its name
    says it). Ours is the mean over trials at the printed k (`aggregation.by_iteration` with
    the trial options), ``sd`` its spread over ``n_trials``, ``low`` and ``high`` its 95% interval
    out of ``intervals`` (dataset, model, method, k, metric, low, high; of several, the one of each
    iteration over edits, else over trials). What is printed are means over trials, so our own stop
    is that of the means too, with ``epsilon``, whatever the switch ``stop_row`` says.

    Returns COLUMNS, ``tolerance`` and ``reason`` being text and ``verdict`` one of VERDICTS. Where
    the verdict is "not run" or "not comparable", and where a suspect cell has no counterpart, the
    columns about ours are missing. Raises ValueError for missing columns and unknown options.
    """
    require_columns(published, ("table", *_RUN, "k", "n_requests", *METRICS), "published")
    require_columns(metrics, (*RUN, "k", "n_requests", *METRICS), "metrics")
    options = {"trial_agg": trial_agg, "round_per_trial": round_per_trial, "zeros": zeros}
    ours = _Ours(metrics, published, comparable, sources or {}, intervals, epsilon, options)
    cells = _cells(published, suspects)
    printed: dict[tuple, dict[int, _Cell]] = {}  # (place, metric) -> {table: cell}
    last: dict[tuple, set[int]] = {}  # (table, run) -> its printed k
    for cell in cells:
        printed.setdefault((cell.place, cell.metric), {})[cell.row["table"]] = cell
        last.setdefault((cell.row["table"], cell.place[:-1]), set()).add(cell.row["k"])
    rows = []
    for cell in cells:
        ks = last[cell.row["table"], cell.place[:-1]]
        result = _judge(cell, ours, printed, ks if cell.row["table"] in TABLES[:4] else set())
        rows.append(
            {name: cell.row[name] for name in ("table", *_RUN, "k")}
            | {"metric": cell.metric, "published": cell.value, "tolerance": _tolerance(cell)}
            | result
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(
        {"n_trials": "Int64"} | dict.fromkeys(("ours", "difference", "sd", "low", "high"), float)
    )


def summary(comparison: pd.DataFrame) -> pd.DataFrame:
    """How many cells of each table got each verdict: table, cells, and a column per verdict."""
    counts = pd.crosstab(comparison["table"], comparison["verdict"])
    counts = counts.reindex(columns=list(VERDICTS), fill_value=0).rename_axis(columns=None)
    counts.insert(0, "cells", counts.sum(axis=1))
    return counts.reset_index()


def _cells(published: pd.DataFrame, suspects: Sequence[Suspect]) -> list[_Cell]:
    return [
        _Cell(row, metric, row[metric], suspicion(row, metric, suspects))
        for row in published[published["table"].isin(TABLES)].to_dict("records")
        for metric in METRICS
        if not math.isnan(row[metric])
    ]


class _Ours:
    """Our means over trials by (dataset, model, method, k), and why there is none."""

    def __init__(
        self,
        metrics: pd.DataFrame,
        published: pd.DataFrame,
        comparable: Mapping[str, bool],
        sources: Mapping[str, str],
        intervals: pd.DataFrame | None,
        epsilon: float,
        options: Mapping,
    ) -> None:
        self.comparable, self.sources = comparable, sources
        self.present = set(metrics[_RUN].itertuples(index=False, name=None))
        self.rows: dict[tuple, dict] = {}
        self.last: dict[tuple, int] = {}
        self.stops: dict[tuple, int | None] = {}
        sizes = published.groupby(["dataset", "model"])["n_requests"].max()
        self.sizes = sizes.to_dict()  # Tables 4 and 10 do not say their number of requests
        self.intervals = _by_cell(intervals)
        # A run on another model or dataset cannot match a published cell.
        wanted = metrics.merge(published[["dataset", "model"]].drop_duplicates())
        if wanted.empty:
            return
        # The method with the most trials speaks for the unedited model, as in the tables.
        every = by_iteration(wanted, **options).sort_values("n_trials", kind="stable")
        for row in every.to_dict("records"):
            run = tuple(row[name] for name in _RUN)
            self.rows[(*run, row["k"])] = row
            self.last[run] = max(row["k"], self.last.get(run, 0))
            if row["k"] == 0:
                self.rows[(*run[:2], UNEDITED, 0)] = row
                self.present.add((*run[:2], UNEDITED))
        for cell, of_cell in picks(wanted, stopping.Rule("mean", epsilon)).items():
            self.stops[cell] = of_cell["proposed"].row

    def absent(self, place: tuple, metric: str) -> tuple[str, str] | None:
        """Verdict and reason where no value of ours may stand beside the paper's, else None."""
        dataset, model, method, k = place
        run = (dataset, model, method)
        if run not in self.present:
            return NOT_RUN, f"no run of {method} with {model} on {dataset}"
        if not self.comparable.get(model, False):
            return NOT_COMPARABLE, f"{model} is not declared comparable with the paper's model"
        name = dataset.removesuffix(ELIGIBLE)
        if (source := self.sources.get(name, name)) != name:
            return NOT_COMPARABLE, f"our {dataset} comes from {source}"
        if place not in self.rows:
            return NOT_RUN, f"our runs ended at k = {self.last[run]}"
        asked, done = self.sizes[dataset, model], self.rows[place]["n_requests"]
        if not SIZES[0] * asked <= done <= SIZES[1] * asked:
            return NOT_COMPARABLE, f"{done:g} requests, the paper has {asked:g}"
        if math.isnan(self.rows[place][metric]):
            return NOT_RUN, "not measured"
        return None

    def value(self, place: tuple, metric: str) -> float:
        """Our value, NaN where none may be compared."""
        return math.nan if self.absent(place, metric) else self.rows[place][metric]

    def remarks(self, place: tuple, ks: set[int]) -> list[str]:
        """What to know of our row, which stands beside a row of a table that prints ``ks``."""
        row, (dataset, model, method, k) = self.rows[place], place
        found = []
        if row["n_requests"] != (asked := self.sizes[dataset, model]):
            found.append(f"{row['n_requests']:g} requests, the paper has {asked:g}")
        if row["n_stopped"]:
            found.append(f"{row['n_stopped']} of {row['n_trials']} trials had stopped before")
        if k and k == max(ks, default=None):
            stop = self.stops[dataset, model, method]
            if stop is None:
                found.append("ours does not meet the stopping rule")
            elif stop not in ks:
                found.append(f"ours stops at k = {stop}")
        return found


def _judge(
    cell: _Cell, ours: _Ours, printed: Mapping[tuple, Mapping[int, _Cell]], ks: set[int]
) -> dict:
    """The columns about ours, the verdict and the reason."""
    place, metric = cell.place, cell.metric
    reasons = [
        f"{s.id}: {s.reason}" + ("" if s.implied is None else f"; implied: {s.implied:g}")
        for s in cell.known
    ]
    absent = ours.absent(place, metric)
    if absent and cell.doubtful:
        return {"verdict": SUSPECT, "reason": "; ".join([*reasons, absent[1]])}
    if absent:
        return {"verdict": absent[0], "reason": "; ".join([absent[1], *reasons])}
    row, value = ours.rows[place], ours.value(place, metric)
    low, high = ours.intervals.get((*_interval_key(place, row), metric), (math.nan, math.nan))
    result = {
        "ours": value,
        "difference": value - cell.value,
        "n_trials": row["n_trials"],
        "sd": row[f"{metric}_sd"],
        "low": low,
        "high": high,
    }
    reasons += ours.remarks(place, ks)
    if cell.doubtful:
        verdict = SUSPECT
    elif _agrees(cell, value):
        verdict = MATCH
    else:
        verdict, why = _direction(cell, value, ours, printed)
        reasons.insert(0, why)
    return result | {"verdict": verdict, "reason": "; ".join(reasons)}


def _collapsed(cell: _Cell) -> bool:
    return cell.metric == "me_ppl" and cell.value > COLLAPSED_ABOVE


def _agrees(cell: _Cell, value: float) -> bool:
    if _collapsed(cell):
        return value > COLLAPSED_ABOVE
    return TOLERANCES[cell.metric].admits(cell.value, value)


def _tolerance(cell: _Cell) -> str:
    return COLLAPSED if _collapsed(cell) else str(TOLERANCES[cell.metric])


def _direction(
    cell: _Cell, value: float, ours: _Ours, printed: Mapping[tuple, Mapping[int, _Cell]]
) -> tuple[str, str]:
    """Outside the tolerance: whether at least the change against the reference row has its sign.

    The reference is the same method's k = 1, and the unedited model for k = 1 itself; one that the
    cell's own table does not print is taken from the tables of all iterations.
    """
    dataset, model, method, k = cell.place
    if k == 0:
        return DIFFERS, "the unedited model has nothing to be set against"
    place = (dataset, model, method, 1) if k > 1 else (dataset, model, UNEDITED, 0)
    against = "k = 1" if k > 1 else "the unedited model"
    found = printed.get((place, cell.metric), {})
    table = min(found, key=lambda t: (t != cell.row["table"], t), default=None)
    before = ours.value(place, cell.metric)
    if table is None or found[table].doubtful or math.isnan(before):
        return DIFFERS, f"no value of {against} to be set against"
    theirs = _sign(cell.value - found[table].value)
    mine = 0 if value == before else _sign(value - before)
    if theirs and theirs == mine:
        return DIRECTION, f"both {'rise' if mine > 0 else 'fall'} against {against}"
    words = {1: "rises", -1: "falls", 0: "stays"}
    return DIFFERS, f"against {against} the paper's {words[theirs]}, ours {words[mine]}"


def _sign(change: float) -> int:
    return int(change > 0) - int(change < 0)


def _interval_key(place: tuple, row: Mapping) -> tuple:
    """Intervals know the methods that were run, not "Unedited"."""
    return (*(row[name] for name in _RUN), place[-1])


def _by_cell(intervals: pd.DataFrame | None) -> dict[tuple, tuple[float, float]]:
    """(dataset, model, method, k, metric) -> (low, high)."""
    if intervals is None:
        return {}
    keys = [*_RUN, "k", "metric"]
    require_columns(intervals, (*keys, "low", "high"), "intervals")
    if "at" in intervals.columns:
        intervals = intervals[intervals["at"] == "iteration"]
    if "kind" in intervals.columns:  # "edits" before "trials"
        intervals = intervals.sort_values("kind", kind="stable")
    first = intervals.drop_duplicates(keys).set_index(keys)
    return dict(zip(first.index, zip(first["low"], first["high"], strict=True), strict=True))
