"""Metrics of all runs (metrics.csv): reading them, stopping picks, means and spread over trials.

metrics of all runs --by_iteration / at_stop--> mean, spread and number of trials
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from modeledit import stopping
from modeledit.metrics import (
    COLUMNS,
    FRACTIONS,
    METRICS,
    RUN,
    SCORES,
    Zeros,
    harmonic_mean,
    read_csv,
    require_choice,
    require_columns,
)

TrialAgg = Literal["mean_of_scores", "mean_of_rounded_scores", "hm_of_means"]


def read_metrics(paths: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """Read one or more metrics.csv files into one frame; raises ValueError on a bad one."""
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    text = {"dataset": str, "model": str, "method": str}
    frames = []
    for path in paths:
        frame = read_csv(path, text)
        require_columns(frame, COLUMNS, str(path))
        frames.append(frame[list(COLUMNS)])
    metrics = pd.concat(frames, ignore_index=True)
    repeated = metrics[metrics.duplicated([*RUN, "k"])]
    if not repeated.empty:
        first = repeated.iloc[0][[*RUN, "k"]].to_dict()
        raise ValueError(f"metrics: the row {first} occurs twice in {[str(p) for p in paths]}")
    return metrics.astype({name: float for name in METRICS} | {"trial": int, "k": int})


def picks(
    metrics: pd.DataFrame,
    epsilon: float = stopping.EPSILON,
    small_change: float = stopping.EPSILON,
) -> pd.DataFrame:
    """The k each stopping criterion picks in each run (SPEC C.4); missing where it never fires.

    Returns one row per run: dataset, model, method, trial and the nullable integers ``proposed``,
    ``monotonic`` and ``small_change``.
    """
    rows = []
    for run, frame in metrics.groupby(list(RUN), sort=False):
        steps = frame[frame["k"] > 0].sort_values("k")
        dp, p_hat = steps["dp"].tolist(), steps["p_hat"].tolist()
        rows.append(
            dict(zip(RUN, run, strict=True))
            | {
                "proposed": stopping.proposed(dp, epsilon),
                "monotonic": stopping.monotonic(dp),
                "small_change": stopping.small_change(p_hat, small_change),
            }
        )
    criteria = ("proposed", "monotonic", "small_change")
    return pd.DataFrame(rows, columns=[*RUN, *criteria]).astype(dict.fromkeys(criteria, "Int64"))


def by_iteration(
    metrics: pd.DataFrame,
    trial_agg: TrialAgg = "mean_of_scores",
    round_per_trial: int | None = None,
    zeros: Zeros = "keep",
) -> pd.DataFrame:
    """Means over trials for every dataset, model, method and k.

    A trial that stopped before k takes part with the last row it has, so that every row is about
    the same trials; ``n_stopped`` counts these. For the other columns see `aggregate`.
    """
    carried = []
    for _, method in metrics.groupby(["dataset", "model", "method"], sort=False):
        ks = range(int(method["k"].max()) + 1)
        for _, run in method.groupby("trial"):
            last = int(run["k"].max())
            rows = run.set_index("k").loc[[min(k, last) for k in ks]].reset_index(drop=True)
            carried.append(rows.assign(k=ks, n_stopped=[int(k > last) for k in ks]))
    rows = pd.concat(carried, ignore_index=True)
    stopped = rows.groupby(["dataset", "model", "method", "k"], sort=False)["n_stopped"].sum()
    result = aggregate(rows, ("k",), trial_agg, round_per_trial, zeros)
    return result.assign(n_stopped=stopped.to_numpy())


def at_stop(
    metrics: pd.DataFrame,
    epsilon: float = stopping.EPSILON,
    by: Literal["trial", "mean"] = "trial",
    trial_agg: TrialAgg = "mean_of_scores",
    round_per_trial: int | None = None,
    zeros: Zeros = "keep",
) -> pd.DataFrame:
    """Means over trials at the stop, one row per dataset, model and method.

    ``by="trial"`` takes each trial's own stop row; ``by="mean"`` takes the first k at which the
    |dp| averaged over trials meets the rule, as the paper's tables do (SPEC G.1). A run which
    never meets it takes part with its last row. Columns as in `aggregate`, and ``k`` (mean),
    ``k_text`` ("4", or "3–5" where trials differ), ``met`` (whether all met the rule).
    """
    require_choice("by", by, ("trial", "mean"))
    keys = ["dataset", "model", "method"]
    if by == "mean":
        rows = by_iteration(metrics, trial_agg, round_per_trial, zeros)
        chosen = []
        for _, frame in rows.groupby(keys, sort=False):
            steps = frame[frame["k"] > 0].sort_values("k")
            k = stopping.proposed(steps["dp"].tolist(), epsilon)
            row = steps[steps["k"] == k] if k else steps.tail(1)
            chosen.append(row.assign(k_text=row["k"].astype(str), met=k is not None))
        return pd.concat(chosen, ignore_index=True)
    stops = picks(metrics, epsilon).set_index(list(RUN))["proposed"]
    chosen = []
    for run, frame in metrics.groupby(list(RUN), sort=False):
        met = pd.notna(stops[run])
        k = stops[run] if met else frame["k"].max()
        chosen.append(frame[frame["k"] == k].assign(met=met))
    rows = pd.concat(chosen, ignore_index=True)
    groups = rows.groupby(keys, sort=False)
    result = aggregate(rows, (), trial_agg, round_per_trial, zeros)
    low, high = groups["k"].min().to_numpy(), groups["k"].max().to_numpy()
    return result.assign(
        k=groups["k"].mean().to_numpy(dtype=float),
        k_text=[f"{a}" if a == b else f"{a}–{b}" for a, b in zip(low, high, strict=True)],
        met=groups["met"].all().to_numpy(),
    )


def aggregate(
    rows: pd.DataFrame,
    by: Sequence[str] = ("k",),
    trial_agg: TrialAgg = "mean_of_scores",
    round_per_trial: int | None = None,
    zeros: Zeros = "keep",
) -> pd.DataFrame:
    """Mean and spread over trials for every dataset, model, method and ``by`` (SPEC F.3, F.4).

    ``mean_of_scores`` averages everything. ``mean_of_rounded_scores`` first rounds each trial's
    scores to two decimals (or to ``round_per_trial``); ``hm_of_means`` takes the harmonic mean of
    the averaged parts instead. ``round_per_trial`` rounds all fractions of each trial first (the
    paper's tables: 2). Returns the keys, the columns METRICS (means), ``{column}_sd`` (sample
    standard deviation, NaN for one trial), ``n_trials`` and ``n_requests`` (the mean over trials).
    """
    require_choice(
        "trial_agg", trial_agg, ("mean_of_scores", "mean_of_rounded_scores", "hm_of_means")
    )
    keys = ["dataset", "model", "method", *by]
    rows = rows.copy()
    if round_per_trial is not None:
        rows[list(FRACTIONS)] = rows[list(FRACTIONS)].round(round_per_trial)
    elif trial_agg == "mean_of_rounded_scores":
        rows[list(SCORES)] = rows[list(SCORES)].round(2)
    groups = rows.groupby(keys, sort=False)[list(METRICS)]
    # An infinite value makes the spread undefined, which numpy would report as a warning.
    with np.errstate(invalid="ignore"):
        means, spread = groups.mean(), groups.std().add_suffix("_sd")
    for name, parts in SCORES.items() if trial_agg == "hm_of_means" else ():
        scores = [harmonic_mean(row, zeros) for row in means[list(parts)].to_numpy()]
        # A score that no trial has stays undefined: at k = 0 its parts may be there (I19).
        means[name] = np.where(means[name].isna(), np.nan, scores)
    counts = rows.groupby(keys, sort=False).agg(
        n_trials=("trial", "nunique"), n_requests=("n_requests", "mean")
    )
    return pd.concat([means, spread, counts], axis=1).reset_index()
