"""What a study found, in a sentence for each group of the paper's claims, with their verdicts.

The sentences are about what was run here, whatever the paper says; the verdicts are those of
claims.csv. Where more than `NAMED` methods could be named, they are counted instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from modeledit.evaluation.aggregation import Averaging, at_stop, by_iteration, pick_table, span
from modeledit.paper.claims import PRINTED
from modeledit.paper.judging import FAILS, HOLDS, IN_PART, NOT_RUN
from modeledit.presentation.wording import describe_dataset
from modeledit.study.methods import METHODS

Group = Literal["iterating", "neighbors", "stopping", "algorithms"]
TITLES: dict[Group, str] = {
    "iterating": "Iterating",
    "neighbors": "A neighbor in the loss",
    "stopping": "When to stop",
    "algorithms": "MEMIT and PMET",
}
SECTIONS: dict[str, Group] = {  # of the paper, by the first one that a claim names
    "3.1": "iterating",
    "5.1": "iterating",
    "6.1": "iterating",
    "5.2": "neighbors",
    "6.2": "neighbors",
    "6.3": "stopping",
    "A": "algorithms",
}
NAMED = 3  # cases that a sentence names
VERDICTS = (HOLDS, IN_PART, FAILS)
CELL = ["dataset", "model", "method"]


@dataclass(frozen=True)
class Finding:
    """A group of claims: what was seen, and how many of its claims got which verdict here."""

    group: Group
    title: str
    sentence: str
    verdicts: Mapping[str, int]  # by VERDICTS, those above 0
    not_run: int  # claims that nothing here could be said about


@dataclass(frozen=True)
class _Case:
    """One metric of two things that are compared, in percent."""

    name: str
    before: float
    after: float

    @property
    def text(self) -> str:
        return f"{self.before:.1f} → {self.after:.1f}% ({self.name})"


def group_of(section: str) -> Group:
    """The group of a claim by its section, such as "5.1, Table 6"."""
    return SECTIONS[section.split(",")[0].strip()]


def findings(
    metrics: pd.DataFrame | None,
    claims: pd.DataFrame | None,
    averaging: Averaging,
    titles: Mapping[str, str],
) -> list[Finding]:
    """One finding per group that something was run for, in the order of TITLES.

    ``metrics`` and ``claims`` are those of metrics.csv and claims.csv, None where there is none;
    ``titles`` map models to printed names.
    """
    if metrics is None:
        return []
    rows = metrics[[not METHODS[name].probe for name in metrics["method"]]]
    rows = rows[rows.groupby([*CELL, "trial"])["k"].transform("max") > 0]
    if rows.empty:
        return []
    first = by_iteration(rows, averaging)
    first = first[first["k"] == 1].set_index(CELL)
    stop = at_stop(rows, averaging).set_index(CELL)
    names = _names(stop.index, titles)
    said: dict[Group, str] = {
        "iterating": _iterating(first, stop, names),
        "neighbors": _neighbors(stop, names),
        "stopping": _stopping(rows, averaging),
        "algorithms": _algorithms(stop, names),
    }
    counted = _verdicts(claims)
    return [
        Finding(group, title, said[group], *counted.get(group, ({}, 0)))
        for group, title in TITLES.items()
        if said[group]
    ]


def _names(cells: pd.MultiIndex, titles: Mapping[str, str]) -> dict[tuple, str]:
    """Names of the cells: the method, and whatever else is not the same for all."""
    several = {level: cells.get_level_values(level).nunique() > 1 for level in ("dataset", "model")}
    found = {}
    for dataset, model, method in cells:
        parts = [method]
        parts += [titles.get(model, model)] if several["model"] else []
        parts += [describe_dataset(dataset)] if several["dataset"] else []
        found[dataset, model, method] = ", ".join(parts)
    return found


def _iterating(first: pd.DataFrame, stop: pd.DataFrame, names: Mapping[tuple, str]) -> str:
    cells = [cell for cell in stop.index if cell in first.index]

    def cases(metric: str) -> list[_Case]:
        return [
            _Case(names[cell], 100 * first.at[cell, metric], 100 * stop.at[cell, metric])
            for cell in cells
        ]

    kept = _compared(cases("spec_acc"), "specificity accuracy")
    gained = _compared(cases("eff_acc"), "efficacy accuracy")
    return f"From the first iteration to the stop: {gained}; {kept}." if cells else ""


def _neighbors(stop: pd.DataFrame, names: Mapping[tuple, str]) -> str:
    pairs = []
    for dataset, model, name in stop.index:
        method = METHODS[name]
        plain = (dataset, model, method.algorithm)
        if method.neighbor_assisted and plain in stop.index:
            pairs.append((plain, (dataset, model, name)))

    def cases(metric: str) -> list[_Case]:
        return [
            _Case(names[own], 100 * stop.at[plain, metric], 100 * stop.at[own, metric])
            for plain, own in pairs
        ]

    kept = _compared(cases("spec_acc"), "specificity accuracy")
    cost = _compared(cases("gen_acc"), "generalization accuracy")
    return f"At the stop, without a neighbor → with one: {kept}; {cost}." if pairs else ""


def _algorithms(stop: pd.DataFrame, names: Mapping[tuple, str]) -> str:
    pairs = [
        ((dataset, model, "MEMIT"), (dataset, model, name))
        for dataset, model, name in stop.index
        if name == "PMET" and (dataset, model, "MEMIT") in stop.index
    ]

    def cases(metric: str) -> list[_Case]:
        return [
            _Case(names[own], 100 * stop.at[plain, metric], 100 * stop.at[own, metric])
            for plain, own in pairs
        ]

    kept = _compared(cases("spec_acc"), "specificity accuracy")
    gained = _compared(cases("eff_acc"), "efficacy accuracy")
    return f"At the stop, MEMIT → PMET: {kept}; {gained}." if pairs else ""


def _compared(cases: Sequence[_Case], what: str) -> str:
    """A few cases by name; of many how often it rises and by how much on average."""
    if len(cases) <= NAMED:
        return f"{what} {', '.join(case.text for case in cases)}"
    changes = pd.Series([case.after - case.before for case in cases]).dropna()
    rises = int((changes > 0).sum())
    return (
        f"{what} rises in {rises} of {len(changes)} cases, by {changes.mean():+.1f} points on"
        " average over all"
    )


def _stopping(rows: pd.DataFrame, averaging: Averaging) -> str:
    chosen = pick_table(rows, averaging.rule)
    if chosen.empty:
        return ""
    met = chosen[chosen["met"]]
    rule = f"|Δp| ≤ {averaging.rule.epsilon:g}"
    if met.empty:
        none = "The run did not meet" if len(chosen) == 1 else f"None of {len(chosen)} runs met"
        return f"{none} {rule} within its budget."
    of = (
        f"All {len(chosen)} runs"
        if len(met) == len(chosen)
        else f"{len(met)} of {len(chosen)} runs"
    )
    of = "The run" if len(chosen) == 1 else of
    ks = span(int(k) for k in met["stop"])
    times = "iteration" if ks == "1" else "iterations"
    return f"{of} met {rule}, after {ks} {times}."


def _verdicts(claims: pd.DataFrame | None) -> dict[Group, tuple[dict[str, int], int]]:
    """Verdicts on the claims of each group over the scopes that were run, and those without."""
    if claims is None:
        return {}
    ours = claims[claims["scope"] != PRINTED]
    found: dict[Group, tuple[dict[str, int], int]] = {}
    grouped = ours.assign(group=ours["section"].map(group_of))
    for group in TITLES:
        own = grouped[grouped["group"] == group]
        counts = {verdict: int((own["verdict"] == verdict).sum()) for verdict in VERDICTS}
        judged = own.groupby("id")["verdict"].agg(lambda v: set(v) != {NOT_RUN})
        silent = int((~judged.astype(bool)).sum())
        found[group] = ({name: n for name, n in counts.items() if n}, silent)
    return found
