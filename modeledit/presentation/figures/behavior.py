"""What models say, write and keep after editing: a panel for each metric, a place for each method.

An open marker is the model after k = 1, a filled one the model at the stop, with their intervals;
the dashed line is the unedited model.
"""

import math
from pathlib import Path
from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from modeledit.evaluation.behavior_metrics import BEHAVIOR_METRICS, BehaviorMetric, headed
from modeledit.presentation.figures.style import (
    COLOURS,
    GREY,
    MARKERS,
    STYLE,
    footnote,
    new_figure,
    printable,
    save,
    write_record,
)
from modeledit.study.methods import METHODS

STATES = {"first": "after k = 1", "stop": "at the stop"}
COLUMNS = 3
_APART = 0.17  # of the two states from a method's place
_MANY_TIMES = 20  # from there on perplexities are on a logarithmic axis
_LEAST = 10.0  # percent that the axis of fractions spans
_ROW, _AROUND, _WIDTH = 1.15, 1.35, 6.9  # inches: a row of panels, heading and names, the figure


def figure_behavior(
    behavior: pd.DataFrame, path: str | Path, *, title: str = "", note: str = ""
) -> dict[str, Any]:
    """The main metrics of a dataset and model, as far as they were measured.

    ``behavior`` are BEHAVIOR rows. A cross at the upper edge stands for a value that is infinite.
    Returns the record, which is also written to ``path`` with the ending .json. Raises ValueError
    if there is nothing.
    """
    measured = set(behavior["metric"])
    metrics = {n: m for n, m in BEHAVIOR_METRICS.items() if m.main and n in measured}
    present = set(behavior["method"])
    methods = [name for name in METHODS if name in present]
    if not metrics:
        raise ValueError("figure: nothing was measured of the behavior of models")
    rows = math.ceil(len(metrics) / COLUMNS)
    with matplotlib.style.context(STYLE):
        figure = new_figure(_WIDTH, _ROW * rows + _AROUND)
        panels = figure.subplots(rows, COLUMNS, squeeze=False)
        for axes in panels.flat[len(metrics) :]:
            axes.set_visible(False)
        for place, (axes, (name, metric)) in enumerate(
            zip(panels.flat, metrics.items(), strict=False)
        ):
            of = behavior[behavior["metric"] == name]
            _panel(axes, of, methods, metric)
            lowest = place + COLUMNS >= len(metrics)
            axes.set_xticklabels(methods if lowest else [], rotation=90)
        _legend(figure, title)
        footnote(figure, note)
        save(figure, path)
    record = {
        "figure": "behavior",
        "methods": methods,
        "panels": {
            name: {"unit": metric.unit, "better": metric.better}
            | _numbers(behavior[behavior["metric"] == name], methods)
            for name, metric in metrics.items()
        },
    }
    write_record(path, record)
    return record


def _panel(axes: Axes, of: pd.DataFrame, methods: list[str], metric: BehaviorMetric) -> None:
    factor = 100.0 if metric.unit == "fraction" else 1.0
    level = factor * _unedited(of)
    if math.isfinite(level):
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle="--", zorder=1)
    places = {name: i for i, name in enumerate(methods)}
    for row in of[of["state"].isin(STATES)].to_dict("records"):
        x = places[row["method"]] + (_APART if row["state"] == "stop" else -_APART)
        _point(axes, x, row, factor)
    axes.set_title(headed(metric), fontsize=6.5)
    axes.set_xlim(-0.6, len(methods) - 0.4)
    axes.set_xticks(range(len(methods)))
    axes.margins(y=0.12)
    low, high = axes.get_ylim()
    if metric.unit == "fraction" and high - low < _LEAST:  # all are equal, or nearly
        axes.set_ylim((low + high - _LEAST) / 2, (low + high + _LEAST) / 2)
    shown = of["value"][of["value"].map(math.isfinite)]
    if metric.unit == "perplexity" and shown.max() > _MANY_TIMES * shown.min():
        axes.set_yscale("log")


def _point(axes: Axes, x: float, row: dict, factor: float) -> None:
    """A value with its interval; a cross at the upper edge where it cannot be drawn."""
    colour, value = COLOURS[row["method"]], factor * row["value"]
    if not math.isfinite(value):
        axes.plot(
            [x], [1.0], "X", color="black", transform=axes.get_xaxis_transform(), clip_on=False
        )
        return
    if math.isfinite(row["low"]):
        axes.vlines(x, factor * row["low"], factor * row["high"], color=colour, linewidth=0.9)
    axes.plot(
        [x],
        [value],
        color=colour,
        marker=MARKERS[row["method"]],
        markerfacecolor=colour if row["state"] == "stop" else "white",
        linestyle="none",
        markersize=4,
        markeredgewidth=0.8,
    )


def _legend(figure: Any, title: str) -> None:
    """A title over the panels, and between them what the markers stand for."""
    dot: dict[str, Any] = {"color": GREY, "marker": "o", "linestyle": "none"}
    handles = [
        Line2D([], [], label="Unedited", color=GREY, linewidth=0.8, linestyle="--"),
        Line2D([], [], label=STATES["first"], markerfacecolor="white", **dot),
        Line2D([], [], label=STATES["stop"], **dot),
    ]
    legend = figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(handles),
        title=printable(title),
        title_fontsize=7.5,
    )
    legend.get_title().set_parse_math(False)


def _unedited(of: pd.DataFrame) -> float:
    """The unedited model's value: it is the same for all methods, on the same requests."""
    known = of["unedited"].dropna()
    return float(known.iloc[0]) if len(known) else math.nan


def _numbers(of: pd.DataFrame, methods: list[str]) -> dict[str, Any]:
    """What a panel shows: the unedited model, and by method and state value, low and high."""
    shown: dict[str, Any] = {}
    for method in methods:
        rows = of[(of["method"] == method) & of["state"].isin(STATES)].to_dict("records")
        keys = ("k", "n", "value", "low", "high")
        shown[method] = {row["state"]: {key: row[key] for key in keys} for row in rows}
    return {"unedited": _unedited(of), "states": shown}
