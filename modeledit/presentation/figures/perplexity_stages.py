"""Figure 3: one edit's perplexity through the stages of every iteration.

Like every figure it is written as PNG, and beside it as PDF and as a JSON file with every number
drawn, so that it can be checked. The bytes depend on the data only (no dates, no global plotting
state).
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from scipy import special, stats

from modeledit.presentation.figures.style import (
    COLOURS,
    STYLE,
    footnote,
    heading,
    new_figure,
    save,
    write_record,
)
from modeledit.study import stopping

HATCHES = {"Unedited": "....", "p_bar": "", "p_hat": "////"}
STAGES = {
    "Unedited": "unedited",
    "p_bar": r"OPTIMIZATION ($\bar h_k$)",
    "p_hat": r"SPREAD ($\hat h_k$)",
}


@dataclass(frozen=True)
class Bar:
    """One edit's perplexity after a stage of iteration k; of the unedited model at k = 0."""

    k: int
    stage: str  # a key of STAGES
    perplexity: float


def figure_perplexity_stages(
    edits: Mapping[int, pd.DataFrame],
    path: str | Path,
    *,
    request: int | None = None,
    label: str = "",
    epsilon: float = stopping.EPSILON,
    note: str = "",
) -> dict[str, Any]:
    """One edit's perplexity of o* from stage to stage (paper, Figure 3; SPEC H).

    ``edits`` maps k = 1, 2, ... to that iteration's `edits.parquet`. Stages in time order: the
    unedited model, then p_bar and p_hat of every iteration up to the first with |p_hat - p_bar|
    <= epsilon. The edit is ``request``, or by default `pick_request`.
    ``label`` describes it ("Lyon: France -> Japan") and ``note`` is printed below.

    The axis is Box-Cox transformed with the lambda of maximum likelihood over the drawn values, and
    is marked in perplexities; where that is impossible (see `boxcox_lambda`) it is logarithmic, and
    says so. An infinite perplexity is a bar up to the top, marked as such.

    Returns the record, which is also written to ``path`` with the ending .json. Raises ValueError
    if the edit is not in the first iteration's log.
    """
    if request is None:
        request = pick_request(edits)
    stages, met = _stages(edits, request, epsilon)
    values = np.array([stage.perplexity for stage in stages])
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
            which = [i for i, stage in enumerate(stages) if stage.stage == name]
            axes.bar(
                [positions[i] for i in which],
                [(0.9 * top if (h := heights[i]) is None else h) + stub for i in which],
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
        by_k = pd.Series(positions).groupby([stage.k for stage in stages]).mean()
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
        "stages": [asdict(stage) for stage in stages],
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


def _stages(
    edits: Mapping[int, pd.DataFrame], request: int, epsilon: float
) -> tuple[list[Bar], bool]:
    """The stages of one edit up to the first iteration meeting the rule, and whether one does."""
    stages: list[Bar] = []
    for k in sorted(edits):
        rows = edits[k][edits[k]["request"] == request]
        if rows.empty and k == 1:
            raise ValueError(f"figure: request {request} is not in the log of iteration 1")
        if rows.empty:
            break
        row = rows.iloc[0]
        if k == 1:
            stages.append(Bar(0, "Unedited", float(row["p_init"])))
        stages += [Bar(k, name, float(row[name])) for name in ("p_bar", "p_hat")]
        if abs(float(row["p_hat"]) - float(row["p_bar"])) <= epsilon:
            return stages, True
    return stages, False


def _scaled(x: Any, lam: float | None) -> Any:
    """Box-Cox with lambda (x**lambda - 1) / lambda, or log10 where there is none."""
    return np.log10(x) if lam is None else special.boxcox(x, lam)


def _bar_positions(stages: list[Bar]) -> list[float]:
    """Bars in time order, the two of an iteration side by side, with a gap between iterations."""
    return [
        bar.k * 2.6 + {"Unedited": 0.8, "p_bar": 0.0, "p_hat": 0.9}[bar.stage] for bar in stages
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
