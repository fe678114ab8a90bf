"""Figure 4: what further iterations do for the edits that the first one missed."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.ticker import NullLocator

from modeledit.evaluation.metrics import distance, mean_perplexity, underedit
from modeledit.presentation.figures.style import (
    COLOURS,
    LINES,
    MARKERS,
    STYLE,
    footnote,
    heading,
    new_figure,
    save,
    write_record,
)
from modeledit.study import stopping


def figure_underedit(
    requests: Mapping[int, pd.DataFrame],
    edits: Mapping[int, pd.DataFrame],
    path: str | Path,
    *,
    epsilon: float = stopping.EPSILON,
    title: str = "",
    note: str = "",
) -> dict[str, Any]:
    """What further iterations do for the edits the first one missed (paper, Figure 4; SPEC H).

    ``requests`` maps k = 1, 2, ... to `metrics.request_metrics`, ``edits`` to that iteration's log.
    U are the requests with efficacy success 0 after k = 1. Upper panel: efficacy accuracy of all
    requests and of U; lower panel: |dp_k|, over U as |mean_U p_hat - mean_U p_bar|, on a log axis
    if it spans more than two decades; the dotted line is epsilon.

    Returns the record, which is also written to ``path`` with the ending .json. Raises ValueError
    if k = 1 is missing or a request occurs twice in one iteration.
    """
    ks = sorted(k for k in requests if k > 0 and k in edits and not requests[k].empty)
    if not ks or ks[0] != 1:
        raise ValueError(f"figure: iteration 1 is missing, there is {ks or 'nothing'}")
    chosen = underedit(requests[1])
    series: dict[str, dict[str, list[float]]] = {}
    for name, ids in (("All", None), ("UnderEdit", chosen)):
        rows = [_subset(requests[k], edits[k], ids, k) for k in ks]
        series[name] = {
            "eff_acc": [float(r["eff_acc"].mean()) for r, _ in rows],  # every request has it
            "dp": [
                float(distance(mean_perplexity(e["p_hat"]), mean_perplexity(e["p_bar"])))
                for _, e in rows
            ],
        }
    with matplotlib.style.context(STYLE):
        figure = new_figure(3.3, 3.0)
        upper, lower = figure.subplots(2, 1, sharex=True)
        size = {"All": len(requests[1]), "UnderEdit": len(chosen)}
        for name, data in series.items():
            if size[name] == 0:
                continue
            style: dict[str, Any] = {
                "color": COLOURS[name],
                "marker": MARKERS[name],
                "linestyle": LINES[name],
                "label": f"{name} ({size[name]})",
                "markeredgecolor": "white",
                "markeredgewidth": 0.4,
                "clip_on": False,
            }
            upper.plot(ks, [100 * v for v in data["eff_acc"]], **style)
            lower.plot(ks, [v if math.isfinite(v) else math.nan for v in data["dp"]], **style)
        if not chosen:
            upper.annotate(
                "no UnderEdit edits: iteration 1 edited them all", (0.5, 0.12),
                xycoords="axes fraction", ha="center", fontsize=6,
            )  # fmt: skip
        upper.set_ylim(0, 104)
        upper.set_ylabel("efficacy\naccuracy (%)")
        drawn = [v for data in series.values() for v in data["dp"] if math.isfinite(v) and v > 0]
        log = bool(drawn) and max(drawn) > 100 * min(drawn)
        if log:
            lower.set_yscale("log")
            lower.yaxis.set_minor_locator(NullLocator())
        else:
            lower.set_ylim(bottom=0)
        lower.axhline(epsilon, color="black", linewidth=0.6, linestyle=":")
        lower.annotate("ε", (1, epsilon), xycoords=("axes fraction", "data"), va="center")
        lower.set_ylabel(r"$|\Delta p_k|$")
        lower.set_xlabel("iteration k")
        lower.set_xticks(ks)
        lower.set_xlim(ks[0] - 0.2, ks[-1] + 0.2)
        figure.align_ylabels()
        heading(figure, upper, title, 2)
        footnote(figure, note)
        save(figure, path)
    record = {
        "figure": "underedit",
        "k": ks,
        "n_all": len(requests[1]),
        "n_underedit": len(chosen),
        "underedit_ids": chosen,
        "log_axis": log,
        "series": series,
    }
    write_record(path, record)
    return record


def pool_trials(trials: Mapping[int, Mapping[int, pd.DataFrame]]) -> dict[int, pd.DataFrame]:
    """{k: rows of all trials} from {trial: {k: rows}}, for `figure_underedit`.

    A trial that has stopped keeps what it had at its stop. Trials may number their requests alike,
    so the column ``request`` of trial t is raised by (t - 1) millions.
    """
    last = max(k for frames in trials.values() for k in frames)
    return {
        k: pd.concat(
            [
                rows.assign(request=rows["request"] + (trial - 1) * 1_000_000)
                for trial, frames in trials.items()
                for rows in [frames[min(k, max(frames))]]
            ],
            ignore_index=True,
        )
        for k in range(1, last + 1)
    }


def _subset(
    requests: pd.DataFrame, edits: pd.DataFrame, ids: list[int] | None, k: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    for frame in (requests, edits):
        if frame["request"].duplicated().any():
            twice = int(frame.loc[frame["request"].duplicated(), "request"].iloc[0])
            raise ValueError(
                f"figure: request {twice} occurs twice at k = {k}; trials drawn together need"
                " distinct ids"
            )
    if ids is None:
        return requests, edits
    return requests[requests["request"].isin(ids)], edits[edits["request"].isin(ids)]
