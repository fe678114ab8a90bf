"""What a study found, in a sentence for each group of the paper's claims, with their verdicts.

The sentences are about what was run here, whatever the paper says; the verdicts are those of
claims.csv. Where more than `NAMED` methods could be named, they are counted instead.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from modeledit.evaluation.aggregation import Averaging, Cell, span
from modeledit.paper.claims import PRINTED
from modeledit.paper.judging import (
    FAILS,
    HOLDS,
    IN_PART,
    NOT_RUN,
    Data,
    Pair,
    memit_and_pmet,
)
from modeledit.presentation.wording import describe_dataset, metric_words
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
NAMED = 3  # cells that a sentence names
VERDICTS = (HOLDS, IN_PART, FAILS)


@dataclass(frozen=True)
class Finding:
    """A group of claims: what was seen, and how many of its claims got which verdict here."""

    group: Group
    title: str
    sentence: str
    verdicts: Mapping[str, int]  # by VERDICTS, those above 0
    not_run: int  # claims that nothing here could be said about


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
    data = Data(metrics, averaging=averaging)
    if not data.stops:
        return []
    names = _names(list(data.stops), titles)
    said: dict[Group, str] = {
        "iterating": _told(
            _iterated(data), names, "From the first iteration to the stop", ("eff_acc", "spec_acc")
        ),
        "neighbors": _told(
            _assisted(data), names, "At the stop, without a neighbor → with one",
            ("spec_acc", "gen_acc"),
        ),
        "stopping": _stopping(data, averaging.rule.epsilon),
        "algorithms": _told(
            list(memit_and_pmet(data)), names, "At the stop, MEMIT → PMET", ("spec_acc", "eff_acc")
        ),
    }  # fmt: skip
    counted = _verdicts(claims)
    return [
        Finding(group, title, said[group], *counted.get(group, ({}, 0)))
        for group, title in TITLES.items()
        if said[group]
    ]


def _names(cells: Sequence[Cell], titles: Mapping[str, str]) -> dict[Cell, str]:
    """Names of the cells: the method, and whatever else is not the same for all."""
    several = [len({cell[level] for cell in cells}) > 1 for level in (0, 1)]
    found = {}
    for dataset, model, method in cells:
        parts = [method]
        parts += [titles.get(model, model)] if several[1] else []
        parts += [describe_dataset(dataset)] if several[0] else []
        found[dataset, model, method] = ", ".join(parts)
    return found


def _iterated(data: Data) -> list[Pair]:
    """Every method after k = 1 and at its stop."""
    return [(c, data.steps[c][1], stop) for c, stop in data.stops.items() if 1 in data.steps[c]]


def _assisted(data: Data) -> list[Pair]:
    """The plain algorithm and with a neighbor, each at its stop."""
    found: list[Pair] = []
    for cell, stop in data.stops.items():
        plain = (*cell[:2], METHODS[cell[2]].algorithm)
        if METHODS[cell[2]].neighbor_assisted and plain in data.stops:
            found.append((cell, data.stops[plain], stop))
    return found


def _told(
    pairs: Sequence[Pair], names: Mapping[Cell, str], what: str, metrics: Sequence[str]
) -> str:
    """How the metrics change, in a sentence; nothing where no pair has one of them."""
    parts = [text for metric in metrics if (text := _compared(pairs, names, metric))]
    return f"{what}: {'; '.join(parts)}." if parts else ""


def _compared(pairs: Sequence[Pair], names: Mapping[Cell, str], metric: str) -> str:
    """A few pairs by name; of many how often the metric rises and by how much on average; "" where
    none has it."""
    what = metric_words(metric)
    both = [(names[cell], 100 * old[metric], 100 * new[metric]) for cell, old, new in pairs]
    both = [one for one in both if math.isfinite(one[1]) and math.isfinite(one[2])]
    if not both:
        return ""
    if len(both) <= NAMED:
        return f"{what} {', '.join(f'{old:.1f} → {new:.1f}% ({name})' for name, old, new in both)}"
    changes = [new - old for _, old, new in both]
    rises, mean = sum(change > 0 for change in changes), sum(changes) / len(changes)
    return (
        f"{what} rises in {rises} of {len(changes)} cases, by {mean:+.1f} points on average over"
        " all"
    )


def _stopping(data: Data, epsilon: float) -> str:
    """How many runs met the rule, and when; where means decide, each of their cells is one."""
    ks = [picked["proposed"] for picked in data.picks.values()]
    met = [k for k in ks if k is not None]
    rule = f"|Δp| ≤ {epsilon:g}"
    if not met:
        none = "The run did not meet" if len(ks) == 1 else f"None of {len(ks)} runs met"
        return f"{none} {rule} within its budget."
    of = f"All {len(ks)} runs" if len(met) == len(ks) else f"{len(met)} of {len(ks)} runs"
    of = "The run" if len(ks) == 1 else of
    times = "iteration" if max(met) == 1 else "iterations"
    return f"{of} met {rule}, after {span(met)} {times}."


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
