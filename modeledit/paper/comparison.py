"""Our results beside the paper's, one row per published cell (SPEC J.2).

A cell is only set against a run of the same model, dataset and method with about as many requests;
a small model's numbers never appear beside the paper's. Where the paper's own cell cannot be
trusted (`published.suspicion`), the row says so instead of blaming our result.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Required, TypedDict

import pandas as pd

from modeledit.evaluation.aggregation import Averaging, Cell, by_cell, by_iteration, picks
from modeledit.evaluation.metrics import COLLAPSED_ABOVE, METRICS, RUN
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

Place = tuple[str, str, str, int]  # of a row: dataset, model, method, k
Row = Mapping[Hashable, Any]  # of a frame, by column


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

    table: int
    place: Place
    metric: str
    value: float
    known: list[Suspicion]

    @property
    def run(self) -> Cell:
        return self.place[:3]

    @property
    def doubtful(self) -> bool:
        return any(found.weight == "suspect" for found in self.known)


Printed = dict[tuple[Place, str], dict[int, _Cell]]  # (place, metric) -> {table: cell}


class _Judgement(TypedDict, total=False):
    """The columns of a row that are about ours, and the verdict."""

    ours: float
    difference: float
    n_trials: int
    sd: float
    low: float
    high: float
    verdict: Required[str]
    reason: Required[str]


def compare(
    metrics: pd.DataFrame,
    published: pd.DataFrame,
    suspects: Sequence[Suspect],
    *,
    comparable: Mapping[str, bool],
    averaging: Averaging,
    sources: Mapping[str, str] | None = None,
    intervals: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Set the metrics of all runs against every non-blank cell of the published TABLES.

    ``published`` and ``suspects`` are those of `published`. ``comparable`` says of each model
    whether it may be compared at all, ``sources`` where each dataset comes from (default: its name
    says it). Ours is the mean over trials at the printed k (`aggregation.by_iteration` with
    ``averaging``), ``sd`` its spread over ``n_trials``, ``low`` and ``high`` its 95% interval
    out of ``intervals`` (dataset, model, method, k, metric, low, high; of several, the one of each
    iteration over edits, else over trials). What is printed are means over trials, so our own stop
    is that of the means too, whatever the rule's ``stop_row`` says.

    Returns COLUMNS, ``tolerance`` and ``reason`` being text and ``verdict`` one of VERDICTS. Where
    the verdict is "not run" or "not comparable", and where a suspect cell has no counterpart, the
    columns about ours are missing. Raises ValueError for missing columns and unknown options.
    """
    require_columns(published, ("table", *_RUN, "k", "n_requests", *METRICS), "published")
    require_columns(metrics, (*RUN, "k", "n_requests", *METRICS), "metrics")
    ours = _Ours(metrics, published, comparable, sources or {}, intervals, averaging)
    cells = _cells(published, suspects)
    printed: Printed = {}
    last: dict[tuple[int, Cell], set[int]] = {}  # (table, run) -> its printed k
    for cell in cells:
        printed.setdefault((cell.place, cell.metric), {})[cell.table] = cell
        last.setdefault((cell.table, cell.run), set()).add(cell.place[-1])
    rows: list[dict[str, object]] = []
    for cell in cells:
        ks = last[cell.table, cell.run]
        result = _judge(cell, ours, printed, ks if cell.table in TABLES[:4] else set())
        rows.append(
            {"table": cell.table}
            | dict(zip((*_RUN, "k"), cell.place, strict=True))
            | {"metric": cell.metric, "published": cell.value, "tolerance": _tolerance(cell)}
            | dict(result)
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
        _Cell(row["table"], _place(row), metric, row[metric], suspicion(row, metric, suspects))
        for row in published[published["table"].isin(TABLES)].to_dict("records")
        for metric in METRICS
        if not math.isnan(row[metric])
    ]


def _place(row: Row) -> Place:
    return row["dataset"], row["model"], row["method"], row["k"]


class _Ours:
    """Our means over trials by (dataset, model, method, k), and why there is none."""

    def __init__(
        self,
        metrics: pd.DataFrame,
        published: pd.DataFrame,
        comparable: Mapping[str, bool],
        sources: Mapping[str, str],
        intervals: pd.DataFrame | None,
        averaging: Averaging,
    ) -> None:
        self.comparable, self.sources = comparable, sources
        self.present = {run for run, _ in by_cell(metrics)}
        self.rows: dict[Place, Row] = {}
        self.last: dict[Cell, int] = {}
        self.stops: dict[Cell, int | None] = {}
        sizes = published.groupby(["dataset", "model"])["n_requests"].max()
        self.sizes = sizes.to_dict()  # Tables 4 and 10 do not say their number of requests
        self.intervals = _by_place(intervals)
        # A run on another model or dataset cannot match a published cell.
        wanted = metrics.merge(published[["dataset", "model"]].drop_duplicates())
        if wanted.empty:
            return
        # The method with the most trials speaks for the unedited model, as in the tables.
        every = by_iteration(wanted, averaging).sort_values("n_trials", kind="stable")
        for row in every.to_dict("records"):
            dataset, model, _, k = place = _place(row)
            self.rows[place] = row
            self.last[place[:3]] = max(k, self.last.get(place[:3], 0))
            if k == 0:
                self.rows[dataset, model, UNEDITED, 0] = row
                self.present.add((dataset, model, UNEDITED))
        of_means = stopping.Rule("mean", averaging.rule.epsilon)
        for cell, of_cell in picks(wanted, of_means).items():
            self.stops[cell] = of_cell["proposed"].row

    def absent(self, place: Place, metric: str) -> tuple[str, str] | None:
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

    def value(self, place: Place, metric: str) -> float:
        """Our value, NaN where none may be compared."""
        return math.nan if self.absent(place, metric) else self.rows[place][metric]

    def remarks(self, place: Place, ks: set[int]) -> list[str]:
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


def _judge(cell: _Cell, ours: _Ours, printed: Printed, ks: set[int]) -> _Judgement:
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
    # Intervals know the methods that were run, not "Unedited".
    low, high = ours.intervals.get((_place(row), metric), (math.nan, math.nan))
    reasons += ours.remarks(place, ks)
    if cell.doubtful:
        verdict = SUSPECT
    elif _agrees(cell, value):
        verdict = MATCH
    else:
        verdict, why = _direction(cell, value, ours, printed)
        reasons.insert(0, why)
    return {
        "ours": value,
        "difference": value - cell.value,
        "n_trials": row["n_trials"],
        "sd": row[f"{metric}_sd"],
        "low": low,
        "high": high,
        "verdict": verdict,
        "reason": "; ".join(reasons),
    }


def _collapsed(cell: _Cell) -> bool:
    return cell.metric == "me_ppl" and cell.value > COLLAPSED_ABOVE


def _agrees(cell: _Cell, value: float) -> bool:
    if _collapsed(cell):
        return value > COLLAPSED_ABOVE
    return TOLERANCES[cell.metric].admits(cell.value, value)


def _tolerance(cell: _Cell) -> str:
    return COLLAPSED if _collapsed(cell) else str(TOLERANCES[cell.metric])


def _direction(cell: _Cell, value: float, ours: _Ours, printed: Printed) -> tuple[str, str]:
    """Outside the tolerance: whether at least the change against the reference row has its sign.

    The reference is the same method's k = 1, and the unedited model for k = 1 itself; one that the
    cell's own table does not print is taken from the tables of all iterations.
    """
    dataset, model, method, k = cell.place
    if k == 0:
        return DIFFERS, "the unedited model has nothing to be set against"
    place: Place = (dataset, model, method, 1) if k > 1 else (dataset, model, UNEDITED, 0)
    against = "k = 1" if k > 1 else "the unedited model"
    found = printed.get((place, cell.metric), {})
    table = min(found, key=lambda t: (t != cell.table, t), default=None)
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


def _by_place(
    intervals: pd.DataFrame | None,
) -> dict[tuple[Place, str], tuple[float, float]]:
    """(place, metric) -> (low, high)."""
    if intervals is None:
        return {}
    keys = [*_RUN, "k", "metric"]
    require_columns(intervals, (*keys, "low", "high"), "intervals")
    if "at" in intervals.columns:
        intervals = intervals[intervals["at"] == "iteration"]
    if "kind" in intervals.columns:  # "edits" before "trials"
        intervals = intervals.sort_values("kind", kind="stable")
    return {
        (_place(row), row["metric"]): (row["low"], row["high"])
        for row in intervals.drop_duplicates(keys).to_dict("records")
    }
