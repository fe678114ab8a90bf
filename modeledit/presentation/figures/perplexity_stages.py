"""The paper's figures from per-edit logs and per-request metrics.

`figure_perplexity_stages` follows one edit through the stages of every iteration (paper, Figure 3);
`figure_underedit` follows the edits that the first iteration missed (Figure 4);
`figure_neighbor_count` asks what more neighbors in the loss do (section 6). Each writes a PNG, and
beside it the same as PDF and a JSON file with every number drawn, so that a figure can be checked,
and returns that record. The bytes depend on the data only (no dates, no global plotting state).
"""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.ticker import NullLocator
from scipy import special, stats

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
from modeledit.study.methods import METHODS

NEIGHBOR_COUNT = {  # metric: label, marker, line
    "eff_acc": ("efficacy", "o", ":"),
    "gen_acc": ("generalization", "s", "--"),
    "spec_acc": ("specificity", "^", "-"),
    "score_acc": ("score", "D", "-."),
}
HATCHES = {"Unedited": "....", "p_bar": "", "p_hat": "////"}
STAGES = {
    "Unedited": "unedited",
    "p_bar": r"OPTIMIZATION ($\bar h_k$)",
    "p_hat": r"SPREAD ($\hat h_k$)",
}


def figure_perplexity_stages(
    edits: Mapping[int, pd.DataFrame],
    path: str | Path,
    *,
    request: int | None = None,
    underedit_ids: Collection[int] = (),
    label: str = "",
    epsilon: float = stopping.EPSILON,
    note: str = "",
) -> dict[str, Any]:
    """One edit's perplexity of o* from stage to stage (paper, Figure 3; SPEC H).

    ``edits`` maps k = 1, 2, ... to that iteration's `edits.parquet`. Stages in time order: the
    unedited model, then p_bar and p_hat of every iteration up to the first with |p_hat - p_bar|
    <= epsilon. The edit is ``request``, or by default `pick_request` with ``underedit_ids``.
    ``label`` describes it ("Lyon: France -> Japan") and ``note`` is printed below.

    The axis is Box-Cox transformed with the lambda of maximum likelihood over the drawn values, and
    is marked in perplexities; where that is impossible (see `boxcox_lambda`) it is logarithmic, and
    says so. An infinite perplexity is a bar up to the top, marked as such.

    Returns the record, which is also written to ``path`` with the ending .json. Raises ValueError
    if the edit is not in the first iteration's log.
    """
    if request is None:
        request = pick_request(edits, underedit_ids)
    stages, met = _stages(edits, request, epsilon)
    values = np.array([stage["perplexity"] for stage in stages])
    finite = values[np.isfinite(values)]
    lam, reason = boxcox_lambda(finite)
    scale = f"Box-Cox, λ = {lam:.3g}" if lam is not None else "log scale"

    with matplotlib.style.context(STYLE):
        figure = new_figure(3.3, 2.35)
        axes = figure.subplots()
        # Perplexity 1, certainty, is zero on both scales; a stub below it keeps such bars visible.
        heights = [_scaled(v, lam) if math.isfinite(v) else None for v in values]
        top = 1.12 * max([h for h in heights if h is not None], default=0.0) or 1.0
        stub = 0.025 * top
        positions = _bar_positions(stages)
        for name in STAGES:
            which = [i for i, stage in enumerate(stages) if stage["stage"] == name]
            axes.bar(
                [positions[i] for i in which],
                [(0.9 * top if heights[i] is None else heights[i]) + stub for i in which],
                bottom=-stub,
                width=0.85,
                color=COLOURS[name],
                hatch=HATCHES[name],
                edgecolor="white",
                linewidth=0.4,
                label=STAGES[name],
            )
        for x, height, value in zip(positions, heights, values, strict=True):
            if height is None:
                text, height = "∞", 0.9 * top
            elif len(stages) <= 9:  # more would run into each other
                text = _short(value)
            else:
                continue
            axes.annotate(
                text,
                (x, height),
                (0, 1.5),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=5.5,
            )
        ticks = _perplexity_ticks(lam, top)
        axes.set_yticks([_scaled(t, lam) for t in ticks], [_short(t) for t in ticks])
        axes.set_ylim(-stub, top)
        axes.set_ylabel(f"perplexity of o*\n({scale})")
        by_k = pd.Series(positions).groupby([stage["k"] for stage in stages]).mean()
        axes.set_xticks(by_k.to_list(), [str(k) for k in by_k.index])
        axes.tick_params(axis="x", length=0)
        axes.set_xlabel("iteration k" + ("" if met else f" (|Δp| ≤ {epsilon:g} not met)"))
        heading(figure, axes, label or f"request {request}", 3)
        footnote(figure, "; ".join(filter(None, [reason and f"log scale: {reason}", note])))
        save(figure, path)
    record = {
        "figure": "perplexity_stages",
        "request": int(request),
        "label": label,
        "epsilon": epsilon,
        "met": met,
        "scale": "boxcox" if lam is not None else "log",
        "lambda": lam,
        "why_log": reason,
        "stages": stages,
    }
    write_record(path, record)
    return record


def pick_request(edits: Mapping[int, pd.DataFrame], underedit_ids: Collection[int] = ()) -> int:
    """The edit to show: the smallest UnderEdit id after k = 1, or else the edit which SPREAD of
    iteration 1 left farthest from its target (the largest |p_hat - p_bar|; SPEC H).

    Raises ValueError if the first iteration's log is empty.
    """
    first = edits[1]
    if first.empty:
        raise ValueError("figure: the log of iteration 1 holds no edits")
    known = set(first["request"].tolist()) & set(underedit_ids)
    if known:
        return int(min(known))
    distance = (first["p_hat"] - first["p_bar"]).abs().fillna(math.inf)
    return int(first.loc[distance == distance.max(), "request"].min())


def boxcox_lambda(values: np.ndarray) -> tuple[float | None, str]:
    """lambda of maximum likelihood (scipy.stats.boxcox) and "", or None and why there is none.

    Needs three positive values that are not all equal, and a transform that keeps them apart.
    """
    values = np.asarray(values, dtype=float)
    if values.size < 3:
        return None, "fewer than three values to fit Box-Cox to"
    if (values <= 0).any():
        return None, "Box-Cox needs positive values"
    if np.ptp(values) <= 1e-12 * values.max():
        return None, "all values are equal"
    with np.errstate(all="ignore"):
        transformed, lam = stats.boxcox(values)
    distinct = np.unique(values)
    steps = np.diff(_scaled(distinct, lam))
    if not (math.isfinite(lam) and np.isfinite(transformed).all() and (steps > 0).all()):
        return None, "the Box-Cox fit degenerates"
    return float(lam), ""


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
            style = {"color": COLOURS[name], "marker": MARKERS[name], "linestyle": LINES[name]}
            style |= {
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
                frames[min(k, max(frames))].assign(
                    request=lambda rows, t=trial: rows["request"] + (t - 1) * 1_000_000
                )
                for trial, frames in trials.items()
            ],
            ignore_index=True,
        )
        for k in range(1, last + 1)
    }


def figure_neighbor_count(
    stops: pd.DataFrame,
    path: str | Path,
    *,
    algorithm: str,
    title: str = "",
    note: str = "",
) -> dict[str, Any]:
    """Accuracies at the stop against the number of neighbors in the loss (paper, section 6).

    ``stops`` are `aggregation.at_stop` rows of one dataset and model; the plain method has 0
    neighbors. Bars show the standard deviation over trials where there are several. Returns the
    record, which is also written to ``path`` with the ending .json. Raises ValueError if there is
    nothing to compare.
    """
    counts = {
        m.name: m.n_neighbors
        for m in METHODS.values()
        if m.algorithm == algorithm and not m.neighbor_prefixed
    }
    rows = stops[stops["method"].isin(counts)]
    rows = rows.assign(n=rows["method"].map(counts)).sort_values("n")
    if len(rows) < 2:
        raise ValueError(f"figure: {algorithm} was run with {len(rows)} numbers of neighbors only")
    with matplotlib.style.context(STYLE):
        figure = new_figure(3.3, 2.35)
        axes = figure.subplots()
        ticks = list(range(len(rows)))  # 0, 1, 2, 4, 8 evenly spaced
        for name, (label, marker, line) in NEIGHBOR_COUNT.items():
            spread = 100 * rows[f"{name}_sd"].to_numpy(dtype=float)
            axes.errorbar(
                ticks,
                100 * rows[name],
                yerr=np.nan_to_num(spread) if np.isfinite(spread).any() else None,
                label=label,
                marker=marker,
                linestyle=line,
                color=COLOURS[name],
                capsize=2,
            )
        axes.set_xticks(ticks, [str(n) for n in rows["n"]])
        axes.set_xlabel("neighbors in the loss")
        axes.set_ylabel("accuracy (%)")
        heading(figure, axes, title, 2)
        footnote(figure, note)
        save(figure, path)
    record = {
        "figure": "neighbor_count",
        "algorithm": algorithm,
        "n_neighbors": rows["n"].tolist(),
        "k": rows["k_text"].tolist(),
        "n_requests": rows["n_requests"].tolist(),
        "series": {name: rows[name].astype(float).tolist() for name in NEIGHBOR_COUNT},
        "sd": {name: rows[f"{name}_sd"].astype(float).tolist() for name in NEIGHBOR_COUNT},
    }
    write_record(path, record)
    return record


# --------------------------------------------------------------------------------------------
# Data


def _stages(
    edits: Mapping[int, pd.DataFrame], request: int, epsilon: float
) -> tuple[list[dict[str, Any]], bool]:
    """The stages of one edit up to the first iteration meeting the rule, and whether one does."""
    stages: list[dict[str, Any]] = []
    for k in sorted(edits):
        rows = edits[k][edits[k]["request"] == request]
        if rows.empty and k == 1:
            raise ValueError(f"figure: request {request} is not in the log of iteration 1")
        if rows.empty:
            break
        row = rows.iloc[0]
        if k == 1:
            stages.append({"k": 0, "stage": "Unedited", "perplexity": float(row["p_init"])})
        stages += [
            {"k": k, "stage": name, "perplexity": float(row[name])} for name in ("p_bar", "p_hat")
        ]
        if abs(float(row["p_hat"]) - float(row["p_bar"])) <= epsilon:
            return stages, True
    return stages, False


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


# --------------------------------------------------------------------------------------------
# Drawing


def _scaled(x: Any, lam: float | None) -> Any:
    """Box-Cox with lambda (x**lambda - 1) / lambda, or log10 where there is none."""
    return np.log10(x) if lam is None else special.boxcox(x, lam)


def _bar_positions(stages: list[dict[str, Any]]) -> list[float]:
    """Bars in time order, the two of an iteration side by side, with a gap between iterations."""
    return [
        s["k"] * 2.6 + {"Unedited": 0.8, "p_bar": 0.0, "p_hat": 0.9}[s["stage"]] for s in stages
    ]


def _perplexity_ticks(lam: float | None, top: float) -> list[float]:
    """Round perplexities to mark the axis with, powers of ten first, none too close to another."""
    powers = [10.0**e for e in range(16)]
    between = [1.1, 1.2, 1.5] + [m * p for p in powers for m in (2, 5)]
    chosen: dict[float, float] = {}
    for value in powers + between:
        height = _scaled(value, lam)
        if height <= top and all(abs(height - h) >= 0.09 * top for h in chosen.values()):
            chosen[value] = height
    return sorted(chosen)


def _short(value: float) -> str:
    """Three digits: 1.02, 12.3, 456, 1.2e4."""
    if value < 9999.5:
        return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
