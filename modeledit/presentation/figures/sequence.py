"""Batches edited one after another: what holds, what is forgotten, and what it costs the model.

Five panels by the number of edits - efficacy of everything edited so far, of earlier batches alone
(retention), specificity, ME-PPL, growth of the edited matrices - and a curve of forgetting:
efficacy after the last batch by the batch that edited a request.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

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

Measure = Literal["acc", "succ"]
MEASURES: dict[Measure, str] = {"acc": "accuracy", "succ": "success"}
_MARKS = 8  # on a line at most
_BAND = 0.15


@dataclass(frozen=True)
class Panel:
    """What a panel shows: a column of the means of one group of requests, as it is printed."""

    title: str
    column: str  # {measure} stands for "acc" or "succ"
    group: Literal["all", "earlier", "edited_in"]
    factor: float = 1
    unedited: bool = True  # whether the unedited model has a level of it


PANELS = {
    "efficacy": Panel("efficacy, all so far (%)", "eff_{measure}", "all", 100),
    "retention": Panel("efficacy, earlier ones (%)", "eff_{measure}", "earlier", 100),
    "specificity": Panel("specificity (%)", "spec_{measure}", "all", 100),
    "me_ppl": Panel("ME-PPL-50", "me_ppl", "all"),
    "growth": Panel("weights moved by (%)", "norm_change", "all", 100, unedited=False),
    "forgetting": Panel("efficacy at the end (%)", "eff_{measure}", "edited_in", 100),
}


@dataclass(frozen=True)
class Sequences:
    """Sequences of one dataset, model and size of a batch.

    ``means`` are rows of `evaluation.sequences.over_trials`, ``intervals`` of
    `sequence_intervals`, ``measure`` what efficacy and specificity are.
    """

    means: pd.DataFrame
    intervals: pd.DataFrame
    measure: Measure

    def methods(self) -> list[str]:
        """The methods, in the order of METHODS."""
        present = set(self.means["method"])
        return [name for name in METHODS if name in present]

    def curve(self, panel: Panel, method: str) -> pd.DataFrame:
        """edits, mean, low, high of one method; low and high NaN of what has no interval.

        ``edits`` of the curve of forgetting is where in the sequence a batch's edits end.
        """
        column = panel.column.format(measure=self.measure)
        of = self.intervals[
            (self.intervals["kind"] == "mean")
            & (self.intervals["method"] == method)
            & (self.intervals["group"] == panel.group)
            & (self.intervals["metric"] == column)
        ]
        if panel.group == "edited_in":
            batches = of["edited_in"].astype(int)
            of = of.assign(edits=batches * of["size"])
            return of[["edits", "mean", "low", "high"]].sort_values("edits")
        rows = self.means[
            (self.means["method"] == method)
            & (self.means["group"] == panel.group)
            & (self.means["batch"] > 0)
        ]
        rows = rows[["batch", "edits", column]].rename(columns={column: "mean"})
        rows = rows.merge(of[["batch", "low", "high"]], on="batch", how="left")
        return rows[["edits", "mean", "low", "high"]].sort_values("edits")

    def unedited(self, panel: Panel) -> float:
        """The unedited model's value; NaN where it has none."""
        zero = self.means[self.means["batch"] == 0].sort_values("n_trials", kind="stable")
        if zero.empty or not panel.unedited:
            return math.nan
        return float(zero.iloc[-1][panel.column.format(measure=self.measure)])

    def collapse(self, method: str) -> int | None:
        """Edits after which the model had collapsed in some trial, None if it never had."""
        rows = self.means[(self.means["method"] == method) & (self.means["batch"] > 0)]
        edits = rows.loc[rows["collapsed"], "edits"]
        return None if edits.empty else int(edits.min())


def figure_sequence(
    sequences: Sequences, path: str | Path, *, title: str = "", note: str = ""
) -> dict[str, Any]:
    """The six panels, a line for each method with its 95% interval where there is one.

    A cross stands where a model collapsed, a grey line at the unedited model's value. Returns the
    record, which is also written to ``path`` with the ending .json. Raises ValueError if there is
    nothing.
    """
    methods = sequences.methods()
    if not methods:
        raise ValueError("figure: there are no metrics of sequences")
    curves = {
        name: {method: sequences.curve(panel, method) for method in methods}
        for name, panel in PANELS.items()
    }
    with matplotlib.style.context(STYLE):
        figure = new_figure(3.3, 4.5)
        panels = figure.subplots(3, 2, sharex=True)
        for (name, panel), axes in zip(PANELS.items(), panels.flat, strict=True):
            _unedited(axes, panel.factor * sequences.unedited(panel))
            for method in methods:
                _line(axes, curves[name][method], panel.factor, method)
            if panel.group != "edited_in":
                _crosses(axes, sequences, curves[name], panel.factor)
            axes.set_title(panel.title)
            axes.margins(y=0.08)
        _perplexities(panels.flat[list(PANELS).index("me_ppl")])
        for axes in panels[-1]:
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panels[-1, 0].set_xlabel("edits so far")
        panels[-1, 1].set_xlabel("place among the edits")
        heading_of_panels(figure, panels[0, 0], title, 3)
        said = f"Efficacy and specificity: {MEASURES[sequences.measure]}."
        footnote(figure, f"{said} {note}".strip())
        save(figure, path)
    record = {
        "figure": "sequence",
        "measure": MEASURES[sequences.measure],
        "panels": {
            name: {
                "unedited": sequences.unedited(panel),
                "methods": {
                    method: {key: of[key].tolist() for key in ("edits", "mean", "low", "high")}
                    for method, of in curves[name].items()
                },
            }
            for name, panel in PANELS.items()
        },
        "collapsed": {method: sequences.collapse(method) for method in methods},
    }
    write_record(path, record)
    return record


def _line(axes: Axes, of: pd.DataFrame, factor: float, method: str) -> None:
    shown = (factor * of["mean"]).where(of["mean"].map(math.isfinite))
    axes.plot(
        of["edits"],
        shown,
        label=method,
        color=COLOURS[method],
        marker=MARKERS[method],
        linestyle=LINES[method],
        markevery=max(1, math.ceil(len(of) / _MARKS)),
        markersize=3,
    )
    if of["low"].notna().any():
        low, high = factor * of["low"], factor * of["high"]
        axes.fill_between(of["edits"], low, high, color=COLOURS[method], alpha=_BAND, linewidth=0)


def _crosses(
    axes: Axes, sequences: Sequences, curves: Mapping[str, pd.DataFrame], factor: float
) -> None:
    """A cross on each line where the model had collapsed; on the upper edge where it has no value
    that could be drawn."""
    label = "collapsed"
    for method, of in curves.items():
        at = of[of["edits"] == sequences.collapse(method)]
        for edits, value in zip(at["edits"], factor * at["mean"], strict=True):
            seen = math.isfinite(value)
            axes.plot(
                [edits],
                [value if seen else 1.0],
                transform=axes.transData if seen else axes.get_xaxis_transform(),
                label=label,
                color="black",
                marker="X",
                linestyle="none",
                markersize=5,
                markeredgecolor="white",
                markeredgewidth=0.5,
                zorder=5,
                clip_on=False,
            )
            label = ""


def _unedited(axes: Axes, value: float) -> None:
    if math.isfinite(value):
        axes.axhline(value, color=GREY, linewidth=0.7, alpha=0.8, zorder=1, label="Unedited")


def _perplexities(axes: Axes) -> None:
    """A logarithmic axis with plain numbers."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(
        LogLocator(subs=(1, 2, 5) if high > 5 * low else (1, 1.5, 2, 3, 5, 7))
    )
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
