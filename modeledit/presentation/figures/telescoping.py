"""What iterating AlphaEdit as released comes to: a smaller L2 (docs/SPEC.md, K.4).

With its own keys in the cache, n iterations on one layer whose keys and targets stay the same leave
the residual of one solve with L2/n; without them it falls geometrically. With several layers, and
targets that are found anew each time, that is no identity any more, so it is measured: how much of
the residual is left, and efficacy, by iteration, beside one iteration with L2/n.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from modeledit.evaluation.aggregation import Averaging, by_iteration
from modeledit.evaluation.schemas import EDITS
from modeledit.presentation.figures.style import (
    STYLE,
    footnote,
    heading_of_panels,
    new_figure,
    save,
    write_record,
)
from modeledit.study.layout import iteration_of
from modeledit.study.methods import METHODS

ANEW = {"FRESH_AlphaEdit": "fresh", "GROWING_AlphaEdit": "growing"}
KEPT = {f"SPREAD_{name}": kind for name, kind in ANEW.items()}
LABELS = {
    "fresh": "no keys of earlier iterations",
    "growing": "keys of all earlier iterations (released)",
    "l2": r"one iteration with $L_2/k$",
}
COLOURS = {"fresh": "#0072B2", "growing": "#D55E00", "l2": "#000000"}
MARKERS = {"fresh": "o", "growing": "s", "l2": "x"}
LINES = {"fresh": "-", "growing": "-", "l2": ":"}
COLUMNS = {"kept": "targets of k = 1", "anew": "targets found anew"}


@dataclass(frozen=True)
class Curve:
    """Means over trials by k: the share of the first residual that is left, and efficacy.

    The residual is the mean over requests of the norm of target - state after SPREAD; its share is
    of that before SPREAD at k = 1. Of one iteration with L2/n, k is n.
    """

    k: list[int]
    residual: list[float]
    eff_acc: list[float]


def residuals(paths: Sequence[Path]) -> pd.DataFrame:
    """Mean `before` and `after` by method, trial and k, from edits.parquet of the iterations."""
    rows = []
    for path in paths:
        run, k = iteration_of(path)
        frame = EDITS.read(path, ("residual_before", "residual"))
        if not frame.empty:
            means = {
                "before": frame["residual_before"].mean(skipna=False),
                "after": frame["residual"].mean(skipna=False),
            }
            rows.append({"method": run.method, "trial": run.trial, "k": k} | means)
    return pd.DataFrame(rows, columns=["method", "trial", "k", "before", "after"])


def curves(
    metrics: pd.DataFrame, left: pd.DataFrame, averaging: Averaging
) -> dict[str, dict[str, Curve]]:
    """{"kept" or "anew": {a key of LABELS: its curve}} of one dataset and model.

    ``left`` are its `residuals`.
    """
    efficacy = {
        (str(row["method"]), int(row["k"])): float(row["eff_acc"])
        for row in by_iteration(metrics, averaging).to_dict("records")
    }
    first = left.loc[left["k"] == 1, ["method", "trial", "before"]]
    left = left.drop(columns="before").merge(first, on=["method", "trial"])
    left = left.assign(share=left["after"] / left["before"])
    share = {
        (str(method), k): mean
        for method, own in left.groupby("method")
        for k, mean in _means(own).items()
    }

    def curve(places: Sequence[tuple[int, str, int]]) -> Curve:
        there = [(n, efficacy[m, k], share[m, k]) for n, m, k in places if (m, k) in share]
        return Curve([n for n, *_ in there], [s for *_, s in there], [e for _, e, _ in there])

    ks = sorted({k for _, k in share})
    divided = [(METHODS[m].l2_divisor, m, 1) for m, _ in share if METHODS[m].l2_divisor > 1]
    once = next((m for m in (*ANEW, "AlphaEdit") if (m, 1) in share), None)
    l2 = curve(sorted([*([(1, once, 1)] if once else []), *divided]))
    found = {}
    for column, named in (("kept", KEPT), ("anew", ANEW)):
        lines = {kind: curve([(k, name, k) for k in ks]) for name, kind in named.items()}
        found[column] = {kind: line for kind, line in lines.items() if line.k} | {"l2": l2}
    return found


def _means(own: pd.DataFrame) -> dict[int, float]:
    """Mean `share` over the trials of a method by k; NaN where one of them has none.

    A trial that stopped before k takes part with its last one, as in means of metrics.
    """
    trials = [
        dict(zip(map(int, of_trial["k"]), map(float, of_trial["share"]), strict=True))
        for _, of_trial in own.sort_values("k").groupby("trial")
    ]

    def mean(k: int) -> float:
        latest = [shares[max(j for j in shares if j <= k)] for shares in trials]
        return sum(latest) / len(latest)

    return {k: mean(k) for k in sorted({k for shares in trials for k in shares})}


def describe(found: Mapping[str, Mapping[str, Curve]]) -> str:
    """What is left of the residual at the last k where all lines of a column have one, in words."""
    said = []
    for column, lines in found.items():
        left = {
            kind: {k: r for k, r in zip(line.k, line.residual, strict=True) if math.isfinite(r)}
            for kind, line in lines.items()
        }
        common = set.intersection(*map(set, left.values())) if left else set()
        if len(lines) < len(LABELS) or not common:
            continue
        k = max(common)
        at = {kind: of_line[k] for kind, of_line in left.items()}
        said.append(
            f"{COLUMNS[column]}, k = {k}: {at['fresh']:.0%} left without, {at['growing']:.0%} with "
            f"the keys of earlier iterations, {at['l2']:.0%} after one iteration with L2/{k}"
        )
    return "; ".join(said)


def figure_telescoping(
    found: Mapping[str, Mapping[str, Curve]], path: str | Path, *, title: str = "", note: str = ""
) -> dict[str, Any]:
    """Two rows, residual left and efficacy; a column for kept and for new targets.

    Returns the record, which is also written to ``path`` with the ending .json. Raises ValueError
    if there is nothing to draw.
    """
    if not any(line.k for lines in found.values() for line in lines.values()):
        raise ValueError("figure: there is no residual of any iteration of AlphaEdit")
    with matplotlib.style.context(STYLE):
        figure = new_figure(3.6, 3.3)
        panels = figure.subplots(2, 2, sharex=True, sharey="row")
        for column, (name, lines) in enumerate(found.items()):
            for kind, line in lines.items():
                values = ([100 * v for v in line.residual], [100 * v for v in line.eff_acc])
                for axes, ys in zip(panels[:, column], values, strict=True):
                    axes.plot(
                        line.k,
                        [y if math.isfinite(y) else math.nan for y in ys],
                        label=LABELS[kind],
                        color=COLOURS[kind],
                        marker=MARKERS[kind],
                        linestyle=LINES[kind],
                        clip_on=False,
                    )
            panels[0, column].set_title(COLUMNS[name])
            panels[1, column].set_xlabel("iteration k")
            panels[1, column].xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[0, 0].set_yscale("log")  # of its whole row
        panels[0, 0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[0, 0].yaxis.set_major_formatter("{x:g}")
        panels[0, 0].yaxis.set_minor_formatter(NullFormatter())
        panels[0, 0].set_ylabel("residual left, %")
        panels[1, 0].set_ylabel("efficacy accuracy, %")
        fullest = max(range(2), key=lambda i: len(panels[0, i].get_lines()))
        heading_of_panels(figure, panels[0, fullest], title, 1)
        footnote(figure, note)
        save(figure, path)
    record = {
        "figure": "telescoping",
        "curves": {
            column: {kind: asdict(line) for kind, line in lines.items()}
            for column, lines in found.items()
        },
        "says": describe(found),
    }
    write_record(path, record)
    return record
