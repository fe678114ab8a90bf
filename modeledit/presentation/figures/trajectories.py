"""Metrics and |dp| against the iteration k, a line per method: what iterating and neighbors do."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

from modeledit.evaluation.aggregation import Averaging, by_cell, by_iteration, picks
from modeledit.presentation.figures.style import (
    COLOURS,
    GREY,
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

PANELS = {  # metric: title, factor; the fractions are accuracies
    "eff_acc": ("efficacy", 100),
    "gen_acc": ("generalization", 100),
    "spec_acc": ("specificity", 100),
    "score_acc": ("score", 100),
    "dp": ("|Δp|", 1),
}
INTERVALS = {name: "trials" if name == "dp" else "edits" for name in PANELS}  # by their kind
_STOP_SIZE = 8.5  # points, of the ring around a stop
_MANY_TIMES = 20.0  # more than that from end to end, and an axis is logarithmic


@dataclass(frozen=True)
class Course:
    """A metric of one method at k = 1, 2, ...: means over trials with 95% intervals.

    NaN where a mean or an interval is not there.
    """

    mean: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class Trajectory:
    """One method on one dataset and model."""

    k: list[int]
    courses: Mapping[str, Course]  # by the names of PANELS
    stop: int | None  # the k by which every trial has met the rule; None where one has not
    stop_text: str  # the trials' own: "2–4"
    n_requests: float  # of a trial, the mean over trials
    n_trials: int


def trajectories(
    metrics: pd.DataFrame, intervals: pd.DataFrame | None, averaging: Averaging
) -> dict[str, Trajectory]:
    """The trajectories of the methods of one dataset and model, in the order of METHODS.

    ``metrics`` and ``intervals`` are those of metrics.csv and intervals.csv. A trial that stopped
    before k takes part with its last row. Methods that repeat one stage alone are left out, as long
    as there are others.
    """
    steps = by_iteration(metrics, averaging)
    chosen = picks(metrics, averaging.rule)
    found = {}
    for cell, of_cell in by_cell(steps[steps["k"] > 0].sort_values("k")):
        stop = chosen[cell]["proposed"]
        found[cell[2]] = Trajectory(
            of_cell["k"].astype(int).tolist(),
            {name: _course(of_cell, name, intervals) for name in PANELS},
            stop.row,
            stop.text,
            float(of_cell["n_requests"].iloc[-1]),
            int(of_cell["n_trials"].iloc[-1]),
        )
    whole = [name for name in found if not METHODS[name].probe]
    return {name: found[name] for name in METHODS if name in (whole or found)}


def _course(steps: pd.DataFrame, name: str, intervals: pd.DataFrame | None) -> Course:
    """A metric of one method at every k of ``steps``."""
    mean, missing = steps[name].astype(float).tolist(), [math.nan] * len(steps)
    if intervals is None:
        return Course(mean, missing, missing)
    own = intervals[
        (intervals["method"] == steps["method"].iloc[0])
        & (intervals["at"] == "iteration")
        & (intervals["metric"] == name)
        & (intervals["kind"] == INTERVALS[name])
    ].set_index("k")
    around = own[["low", "high"]].astype(float).reindex(steps["k"])
    return Course(mean, around["low"].tolist(), around["high"].tolist())


def figure_trajectories(
    found: Mapping[str, Trajectory],
    path: str | Path,
    *,
    epsilon: float,
    title: str = "",
    note: str = "",
) -> dict[str, Any]:
    """A panel for each of PANELS, a line with its band for each method, a ring around its stop.

    The accuracies share an axis; |dp| has a logarithmic one where it spans much, and a dotted line
    at ``epsilon``. Returns the record, which is also written to ``path`` with the ending .json.
    Raises ValueError if there is nothing.
    """
    if not found:
        raise ValueError("figure: no method has an iteration")
    with matplotlib.style.context(STYLE):
        figure = new_figure(7.0, 2.1)
        panels = figure.subplots(1, len(PANELS), sharex=True)
        for axes, (name, (label, factor)) in zip(panels, PANELS.items(), strict=True):
            for method, trajectory in found.items():
                _draw(axes, method, trajectory, name, factor)
            axes.set_title(label)
            axes.set_xlabel("iteration k")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        percent = list(panels[:-1])
        percent[0].set_ylabel("accuracy (%)")
        low = min(axes.get_ylim()[0] for axes in percent)
        for axes in percent:
            axes.set_ylim(max(-2.0, low), 102.0)
        _scale(panels[-1], found, epsilon)
        heading_of_panels(figure, panels[0], title, len(found))
        footnote(figure, note)
        save(figure, path)
    record = {
        "figure": "trajectories",
        "epsilon": epsilon,
        "panels": [{"metric": n, "title": title, "factor": f} for n, (title, f) in PANELS.items()],
        "methods": [
            {"method": method, "colour": COLOURS[method], "dashed": LINES[method] != "-"}
            | asdict(trajectory)
            for method, trajectory in found.items()
        ],
    }
    write_record(path, record)
    return record


def _draw(axes: Axes, method: str, trajectory: Trajectory, name: str, factor: float) -> None:
    course = trajectory.courses[name]
    style: dict[str, Any] = {
        "color": COLOURS[method],
        "linestyle": LINES[method],
        "marker": MARKERS[method],
    }
    mean, low, high = (
        [factor * v if math.isfinite(v) else math.nan for v in values]
        for values in (course.mean, course.low, course.high)
    )
    axes.plot(trajectory.k, mean, label=method, markersize=3.5, clip_on=False, **style)
    axes.fill_between(trajectory.k, low, high, color=COLOURS[method], alpha=0.15, linewidth=0)
    if trajectory.stop is not None:
        at = trajectory.k.index(trajectory.stop)
        axes.plot(
            trajectory.k[at],
            mean[at],
            marker="o",
            markersize=_STOP_SIZE,
            markerfacecolor="none",
            markeredgecolor=COLOURS[method],
            markeredgewidth=0.9,
            clip_on=False,
        )


def _scale(axes: Axes, found: Mapping[str, Trajectory], epsilon: float) -> None:
    """The axis of |dp|, with the line at which the rule is met."""
    drawn = [v for one in found.values() for v in one.courses["dp"].mean if 0 < v < math.inf]
    if drawn and max(drawn) > _MANY_TIMES * min(drawn):
        axes.set_yscale("log")
        axes.set_ylim(min(*drawn, epsilon) / 1.8, max(*drawn, epsilon) * 1.8)
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    axes.axhline(epsilon, color=GREY, linewidth=0.7, linestyle=":", zorder=1)
    axes.annotate("ε", (1.02, epsilon), xycoords=("axes fraction", "data"), va="center")
