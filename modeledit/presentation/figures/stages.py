"""Which stage makes iterating pay: both repeated, SPREAD alone, OPTIMIZATION alone (SPEC I31, J.3).

All three are the same at k = 1. What each stage alone reaches of the gain of both is a share:

    (x_K - x_1 of one stage alone) / (x_K - x_1 of both),   x = efficacy accuracy or -ln p-hat,

with means over trials, where K is the iteration at which both together meet the stopping rule, and
again the last one that all have. It may be above 1, or negative. There is none where both stages
together gain nothing, or where a value is missing or infinite.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
import pandas as pd
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from modeledit.evaluation.aggregation import Averaging, by_iteration, picks
from modeledit.presentation.figures.style import (
    COLOURS,
    LINES,
    MARKERS,
    STYLE,
    footnote,
    heading_of_panels,
    new_figure,
    save,
    write_record,
)
from modeledit.study.methods import METHODS

Repeats = Literal["both", "spread", "optimization"]  # the stages that further iterations repeat
LABELS: dict[Repeats, str] = {
    "both": "both stages",
    "spread": "SPREAD alone",
    "optimization": "OPTIMIZATION alone",
}
PANELS = {  # metric: label, factor
    "p_bar": (r"$\bar p$ of the targets", 1),
    "p_hat": (r"$\hat p$ of the model", 1),
    "eff_acc": ("efficacy accuracy", 100),
    "spec_acc": ("specificity accuracy", 100),
}
GAINS = {"ln_p_hat": "ln p-hat", "eff_acc": "efficacy accuracy"}
_SMALLEST_GAIN = 1e-9  # below it is rounding


@dataclass(frozen=True)
class Study:
    """One algorithm's three ways to repeat its stages, on one dataset and model."""

    curves: Mapping[Repeats, pd.DataFrame]  # by keys of LABELS: means over trials, a row per k >= 1
    stop: int | None  # where both stages together meet the stopping rule (`aggregation.Pick.row`)


@dataclass(frozen=True)
class Share:
    """How much of the gain of both stages from k = 1 to ``k`` one stage alone makes."""

    repeats: Repeats  # "spread" or "optimization"
    metric: str  # a key of GAINS
    k: int
    both: float  # gain of both stages
    alone: float
    share: float  # NaN where there is none


def study(metrics: pd.DataFrame, algorithm: str, averaging: Averaging) -> Study:
    """The study of ``algorithm`` from the metrics of one dataset and model."""
    named = {
        name: method.repeats
        for name, method in METHODS.items()
        if method.algorithm == algorithm and not method.neighbor_assisted
    }
    rows = metrics[metrics["method"].isin(named)]
    if rows.empty:
        return Study({}, None)
    steps = by_iteration(rows, averaging)
    steps = steps[steps["k"] > 0]
    found = {named[str(name)]: of for name, of in steps.groupby("method", sort=False)}
    ordered = {repeats: found[repeats].sort_values("k") for repeats in LABELS if repeats in found}
    picked = {
        cell[2]: of_cell["proposed"].row for cell, of_cell in picks(rows, averaging.rule).items()
    }
    return Study(ordered, picked.get(algorithm))


def shares(of_study: Study) -> list[Share]:
    """What each stage alone gains, for every metric of GAINS; nothing without both beside one."""
    found = of_study.curves
    if "both" not in found:
        return []
    last = min(int(of["k"].max()) for of in found.values())
    stop = of_study.stop or last
    first = _values(found["both"], 1)
    result = []
    for k in [stop, last] if 1 < stop < last else [last]:
        gains = {
            repeats: {name: value - first[name] for name, value in _values(of, k).items()}
            for repeats, of in found.items()
        }
        both = gains.pop("both")
        result += [
            Share(repeats, name, k, both[name], alone[name], _share(alone[name], both[name]))
            for repeats, alone in gains.items()
            for name in GAINS
        ]
    return result


def _values(of: pd.DataFrame, k: int) -> dict[str, float]:
    """What is gained, the higher the better, at k."""
    row = of[of["k"] == k].iloc[0]
    p_hat = float(row["p_hat"])
    return {
        "ln_p_hat": -math.log(p_hat) if p_hat > 0 else math.nan,
        "eff_acc": float(row["eff_acc"]),
    }


def _share(alone: float, both: float) -> float:
    defined = math.isfinite(alone) and math.isfinite(both) and both > _SMALLEST_GAIN
    return alone / both if defined else math.nan


def describe(found: list[Share], algorithm: str, model: str) -> str:
    """One sentence with the shares, for a table's footnote; empty where there are none."""
    if not found:
        return ""
    said = []
    for k, at_k in groupby(found, lambda share: share.k):
        alone = []
        for repeats, of in groupby(at_k, lambda share: share.repeats):
            each = ", ".join(f"{_percent(s.share)} ({GAINS[s.metric]})" for s in of)
            alone.append(f"{LABELS[repeats]} makes {each} of the gain")
        said.append(f"to *k* = {k}, {'; '.join(alone)}")
    text = f"{algorithm} on {model}, from *k* = 1 {'; '.join(said)}."
    return text + (" --: no gain, or no finite p-hat." if "--" in text else "")


def _percent(share: float) -> str:
    return f"{round(100 * share)}%" if math.isfinite(share) else "--"


def describe_all(
    metrics: pd.DataFrame, names: Mapping[str, str], averaging: Averaging
) -> list[str]:
    """`describe` of each model and algorithm in the metrics of one dataset.

    ``names`` maps models to printed names.
    """
    algorithms = dict.fromkeys(method.algorithm for method in METHODS.values())
    said = [
        describe(
            shares(study(of_model, algorithm, averaging)),
            algorithm,
            names.get(str(model), str(model)),
        )
        for model, of_model in metrics.groupby("model", sort=False)
        for algorithm in algorithms
    ]
    return [sentence for sentence in said if sentence]


def figure_stages(
    of_study: Study,
    path: str | Path,
    *,
    algorithm: str,
    title: str = "",
    note: str = "",
) -> dict[str, Any]:
    """p-bar, p-hat and two accuracies by iteration, one line for each way to repeat the stages.

    The perplexities share a logarithmic axis, the accuracies a linear one. Returns the record,
    which is also written to ``path`` with the ending .json. Raises ValueError if there is nothing.
    """
    found = of_study.curves
    if not found:
        raise ValueError(f"figure: there are no metrics of {algorithm} or of one of its stages")
    with matplotlib.style.context(STYLE):
        figure = new_figure(3.3, 3.1)
        panels = figure.subplots(2, 2, sharex=True, sharey="row")
        for (name, (label, factor)), axes in zip(PANELS.items(), panels.flat, strict=True):
            for repeats, of in found.items():
                axes.plot(
                    of["k"],
                    [factor * v if math.isfinite(v) else math.nan for v in of[name]],
                    label=LABELS[repeats],
                    color=COLOURS[repeats],
                    marker=MARKERS[repeats],
                    linestyle=LINES[repeats],
                    # The lines may lie on each other: that of both stages shows around the others.
                    markersize=6 if repeats == "both" else 3.5,
                    markerfacecolor="white" if repeats == "both" else None,
                    clip_on=False,
                )
            axes.set_title(label)
        perplexity, accuracy = panels[0, 0], panels[1, 0]
        perplexity.set_yscale("log")
        drawn = [v for of in found.values() for name in ("p_bar", "p_hat") for v in of[name]]
        drawn = [v for v in drawn if math.isfinite(v)] or [1.0]
        wide = max(drawn) > 20 * min(drawn)
        subs = (1, 2, 5) if wide else (1, 1.2, 1.5, 2, 3, 5, 7)
        perplexity.yaxis.set_major_locator(LogLocator(subs=subs))
        perplexity.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        perplexity.yaxis.set_minor_formatter(NullFormatter())
        perplexity.set_ylabel("perplexity of o*")
        accuracy.set_ylabel("%")
        for axes in panels[1]:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlabel("iteration k")
        heading_of_panels(figure, perplexity, title, 3)
        footnote(figure, note)
        save(figure, path)
    record = {
        "figure": "stages",
        "algorithm": algorithm,
        "k": {repeats: of["k"].astype(int).tolist() for repeats, of in found.items()},
        "series": {
            repeats: {name: of[name].astype(float).tolist() for name in PANELS}
            for repeats, of in found.items()
        },
        "shares": [asdict(share) for share in shares(of_study)],
    }
    write_record(path, record)
    return record
