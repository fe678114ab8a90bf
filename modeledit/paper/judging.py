"""Verdicts on claims about metrics: what a claim sees, compares, finds, and concludes.

A claim looks at cells, which are a dataset, model and method averaged over trials, or at courses,
the numbers that decide a stop, and finds in each whether it holds there. Its own wording decides
what a mixture means: a claim about "most" holds with more than half, an "always" falls with one
exception, a "can" needs one case; any other claim then holds in part. Where nothing can be said it
is not run.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from modeledit.evaluation.aggregation import (
    Averaging,
    Cell,
    at_stop,
    by_cell,
    by_iteration,
    by_run,
    picks,
)
from modeledit.evaluation.metrics import METRICS, RUN
from modeledit.study.layout import RunKey
from modeledit.study.methods import METHODS, assisted_name

HOLDS, IN_PART, FAILS, NOT_RUN = "holds", "holds in part", "does not hold", "not run"
LISTED = 6  # cells that evidence names; of more, so many of the larger and the smaller side:
OF_LARGER, OF_SMALLER = 3, 8
ROUNDING = 1e-9

Quantifier = Literal["general", "most", "always", "can"]
Course = Cell | RunKey  # whose numbers decide a stop: those of a cell's means, or of one run


class Verdict(NamedTuple):
    verdict: str
    evidence: str


class Finding(NamedTuple):
    """Whether a claim holds in one cell, or in one run of it, and the numbers behind it."""

    cell: Cell
    holds: bool
    text: str


@dataclass(frozen=True)
class Means:
    """METRICS of a cell, the means over its trials at one k."""

    values: Mapping[str, float]

    def __getitem__(self, metric: str) -> float:
        return self.values[metric]


@dataclass(frozen=True)
class Stop(Means):
    """The means of a cell at its stop (`aggregation.at_stop`)."""

    k: float  # mean over the trials
    k_text: str
    met: bool


Pair = tuple[Cell, Means, Stop]  # a cell, its means before and after


class Data:
    """Metrics the way claims ask for them.

    ``courses`` are the series of rows k = 0, 1, ... by which a stop is decided: those of every run
    under ``stop_row: trial``, the means of every cell under ``mean``. They and their ``picks`` are
    keyed by RUN or by cell, the first three of either being the cell.

    ``requests`` are per-request values as from `significance.read_requests`, for claims about
    single edits; with its columns p_bar and p_hat also those about their perplexities.
    """

    def __init__(
        self,
        metrics: pd.DataFrame,
        requests: pd.DataFrame | None = None,
        *,
        averaging: Averaging,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.requests, self.names = requests, names or {}
        self.steps: dict[Cell, dict[int, Means]] = {}  # at k = 1, 2, ...
        self.stops: dict[Cell, Stop] = {}
        self.courses: dict[Course, pd.DataFrame] = {}  # k = 0, 1, ...
        self.picks: dict[Course, dict[str, int | None]] = {}
        self.stop_of: dict[RunKey, int] = {}  # each run's own iteration at the stop of its cell
        iterated = [name for name, method in METHODS.items() if not method.probe]
        edited = metrics[metrics["method"].isin(iterated)]  # the paper claims nothing of one stage
        edited = edited[edited.groupby(list(RUN))["k"].transform("max") > 0]
        if edited.empty:
            return
        every = by_iteration(edited, averaging)
        for cell, frame in by_cell(every[every["k"] > 0]):
            self.steps[cell] = {row["k"]: _means(row) for row in frame.to_dict("records")}
        for cell, frame in by_cell(at_stop(edited, averaging)):
            (row,) = frame.to_dict("records")
            self.stops[cell] = Stop(_means(row).values, row["k"], row["k_text"], row["met"])
        chosen = picks(edited, averaging.rule)
        for run, frame in by_run(edited):
            stop = chosen[run[:3]]["proposed"].k[run.trial]
            self.stop_of[run] = min(stop, int(frame["k"].max()))
        by_mean = averaging.rule.stop_row == "mean"
        courses: Iterator[tuple[Course, pd.DataFrame]]
        courses = by_cell(every) if by_mean else by_run(edited)
        for key, frame in courses:
            self.courses[key] = frame.set_index("k").sort_index()
            self.picks[key] = {
                name: pick.of(key.trial) if isinstance(key, RunKey) else pick.row
                for name, pick in chosen[key[:3]].items()
            }


def _means(row: Mapping[Hashable, Any]) -> Means:
    """Those of a row of `aggregation.aggregate`."""
    return Means({name: row[name] for name in METRICS})


Find = Callable[[Data], Iterator[Finding]]
Pairs = Callable[[Data], Iterator[Pair]]


@dataclass(frozen=True)
class Claim:
    """A statement of the paper; ``needs`` says what is missing where nothing can be said."""

    id: str
    section: str
    quantifier: Quantifier
    statement: str
    needs: str
    find: Find

    def verdict(self, data: Data) -> Verdict:
        found = list(self.find(data))
        if not found:
            return Verdict(NOT_RUN, f"Needs {self.needs}.")
        share = sum(finding.holds for finding in found) / len(found)
        if share in (0, 1):
            verdict = HOLDS if share else FAILS
        elif self.quantifier == "always":
            verdict = FAILS
        else:
            enough = self.quantifier == "can" or (self.quantifier == "most" and share > 0.5)
            verdict = HOLDS if enough else IN_PART
        return Verdict(verdict, _evidence(found, data))


def _evidence(found: list[Finding], data: Data) -> str:
    """How many, then which: "3 of 4. Yes: GPT-2 XL MEMIT score 42.7 to 56.7; ... No: ..."."""
    several = len({finding.cell[0] for finding in found}) > 1
    sides: dict[bool, dict[Cell, list[str]]] = {True: {}, False: {}}
    for finding in found:
        sides[finding.holds].setdefault(finding.cell, []).append(finding.text)
    parts = [f"{sum(finding.holds for finding in found)} of {len(found)}."]
    for holds, word in ((True, "Yes"), (False, "No")):
        listed = [
            f"{data.names.get(model, model)} {method}"
            f"{f' ({dataset})' if several else ''} {', '.join(texts)}"
            for (dataset, model, method), texts in sides[holds].items()
        ]
        limit = OF_SMALLER if len(listed) < len(sides[not holds]) else OF_LARGER
        if len(sides[True]) + len(sides[False]) > LISTED and len(listed) > limit:
            listed[limit:] = [f"and {len(listed) - limit} more"]
        if listed:
            parts.append(f"{word}: {'; '.join(listed)}.")
    return " ".join(parts)


# --------------------------------------------------------------------------------------------
# What is compared


def plain(data: Data) -> list[Cell]:
    return [cell for cell in data.steps if not METHODS[cell[2]].neighbor_assisted]


def iterated(data: Data) -> Iterator[Pair]:
    """Plain methods of which some trial goes beyond k = 1: there and at the stop."""
    for cell in plain(data):
        if data.stops[cell].k > 1:
            yield cell, data.steps[cell][1], data.stops[cell]


def assisted_cells(data: Data, prefixed: bool = False) -> Iterator[tuple[Cell, Cell]]:
    """The paper's methods with a bare or a prefixed neighbor, and their plain algorithm, on the
    same requests."""
    for cell in data.steps:
        method = METHODS[cell[2]]
        chosen = method.neighbor_assisted and method.neighbor_prefixed == prefixed
        algorithm = (*cell[:2], method.algorithm)
        if chosen and method.in_paper and algorithm in data.steps:
            yield cell, algorithm


def bare(cell: Cell) -> Cell:
    """The cell of the same algorithm with a bare neighbor."""
    dataset, model, method = cell
    return dataset, model, assisted_name(METHODS[method].algorithm, prefixed=False)


def assisted(data: Data) -> Iterator[Pair]:
    """The plain algorithm and with NA_, each at its stop."""
    for cell, algorithm in assisted_cells(data):
        yield cell, data.stops[algorithm], data.stops[cell]


def memit_and_pmet(data: Data) -> Iterator[Pair]:
    """MEMIT and PMET on the same requests, each at its stop."""
    for cell, stop in data.stops.items():
        memit = (*cell[:2], "MEMIT")
        if cell[2] == "PMET" and memit in data.stops:
            yield cell, data.stops[memit], stop


def unprefixed(data: Data) -> Iterator[Pair]:
    """With NAP_ and with NA_, each at its stop."""
    for cell, _ in assisted_cells(data, prefixed=True):
        if (other := bare(cell)) in data.stops:
            yield other, data.stops[cell], data.stops[other]


def where(pairs: Pairs, test: Callable[[Cell, Means, Stop], bool]) -> Pairs:
    return lambda data: (pair for pair in pairs(data) if test(*pair))


def change(pairs: Pairs, metrics: str, test: Callable[[float], bool]) -> Find:
    """Whether the change of each of ``metrics`` (separated by spaces) passes the test."""

    def find(data: Data) -> Iterator[Finding]:
        for cell, before, after in pairs(data):
            for metric in metrics.split():
                a, b = before[metric], after[metric]
                if not np.isnan([a, b]).any():
                    text = f"{METRICS[metric].group.lower()} {100 * a:.1f} to {100 * b:.1f}"
                    yield Finding(cell, bool(test(b - a)), text)

    return find


def rises(difference: float) -> bool:
    return difference > ROUNDING


def falls(difference: float) -> bool:
    return difference < -ROUNDING


def both(*finds: Find) -> Find:
    return lambda data: (finding for find in finds for finding in find(data))


def plain_courses(data: Data) -> Iterator[tuple[Cell, pd.DataFrame, dict[str, int | None]]]:
    for key, frame in data.courses.items():
        if not METHODS[key[2]].neighbor_assisted:
            yield key[:3], frame, data.picks[key]
