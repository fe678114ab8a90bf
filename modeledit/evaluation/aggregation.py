"""Metrics of all runs (metrics.csv): reading them, stopping picks, means and spread over trials.

metrics of all runs --picks--> the iterations of a cell that the stopping criteria pick
metrics of all runs --by_iteration / at_stop--> mean, spread and number of trials

A cell is a dataset, model and method, with its trials. `picks` alone says where a cell stops.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, cast

import numpy as np
import pandas as pd

from modeledit.evaluation.metrics import (
    FRACTIONS,
    METRICS,
    RUN,
    SCORES,
    Zeros,
    distance,
    harmonic_mean,
)
from modeledit.evaluation.schemas import RUN_METRICS
from modeledit.io.frames import require_choice
from modeledit.study import stopping
from modeledit.study.layout import RunKey
from modeledit.study.switches import Switches

TrialAgg = Literal["mean_of_scores", "mean_of_rounded_scores", "hm_of_means"]
TRIAL_AGGS: tuple[TrialAgg, ...] = ("mean_of_scores", "mean_of_rounded_scores", "hm_of_means")
Cell = tuple[str, str, str]  # dataset, model, method
CELL = RUN[:3]


@dataclass(frozen=True)
class Averaging:
    """How the runs of a cell become its rows: where they stop, and how trials are averaged.

    The switches ``stop_row`` (in ``rule``), ``trial_score``, ``round_per_trial`` and
    ``score_zeros``; what the three of averaging do is said in `aggregate`. Raises ValueError for a
    value that is none of them.
    """

    rule: stopping.Rule
    trial_agg: TrialAgg
    round_per_trial: int | None
    zeros: Zeros

    def __post_init__(self) -> None:
        require_choice("trial_agg", self.trial_agg, TRIAL_AGGS)
        require_choice("zeros", self.zeros, ("keep", "drop"))

    @classmethod
    def of(cls, switches: Switches, epsilon: float) -> Self:
        """That of a configuration: its switches, and its epsilon for the rule."""
        return cls(
            stopping.Rule(switches.stop_row, epsilon),
            switches.trial_score,
            switches.round_per_trial,
            switches.score_zeros,
        )


@dataclass(frozen=True)
class Pick:
    """The iteration of a cell that one stopping criterion picks, for every trial.

    Under ``stop_row: mean`` every trial has the k of the means, under ``trial`` its own. A trial
    (under ``mean`` all of them) of which the criterion picks nothing has its last k, and is not
    ``met``.
    """

    k: Mapping[int, int]  # by trial
    met: Mapping[int, bool]

    def of(self, trial: int) -> int | None:
        """What the trial stops at, None if the criterion never fires."""
        return self.k[trial] if self.met[trial] else None

    @property
    def row(self) -> int | None:
        """The first k by which the criterion has picked, in all trials; None if it never has."""
        return max(self.k.values()) if all(self.met.values()) else None

    @property
    def text(self) -> str:
        return span(self.k.values())


def read_metrics(paths: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """Read one or more metrics.csv files into one frame; raises ValueError on a bad one."""
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    metrics = pd.concat([RUN_METRICS.read_csv(path) for path in paths], ignore_index=True)
    repeated = metrics[metrics.duplicated([*RUN, "k"])]
    if not repeated.empty:
        first = repeated.iloc[0][[*RUN, "k"]].to_dict()
        raise ValueError(f"metrics: the row {first} occurs twice in {[str(p) for p in paths]}")
    return metrics


def by_cell(metrics: pd.DataFrame) -> Iterator[tuple[Cell, pd.DataFrame]]:
    """The rows of every cell, in the order in which the cells occur."""
    for key, rows in metrics.groupby(list(CELL), sort=False):
        yield cast(Cell, key), rows  # pandas only knows that keys are hashable


def by_run(metrics: pd.DataFrame) -> Iterator[tuple[RunKey, pd.DataFrame]]:
    """The rows of every run, in the order in which the runs occur."""
    for key, rows in metrics.groupby(list(RUN), sort=False):
        yield RunKey(*cast(tuple[str, str, str, int], key)), rows  # as in `by_cell`


def by_trial(rows: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """The rows of every trial of one cell."""
    return {cast(int, trial): of_trial for trial, of_trial in rows.groupby("trial")}


def span(values: Iterable[int]) -> str:
    """ "4", or "3–5" where the values differ."""
    low, high = min(found := list(values)), max(found)
    return f"{low}" if low == high else f"{low}–{high}"


def picks(metrics: pd.DataFrame, rule: stopping.Rule) -> dict[Cell, dict[str, Pick]]:
    """What each of `stopping.CRITERIA` picks in every cell: where the cell stops is "proposed".

    This is where `Rule.stop_row` is applied (see `stopping`). A run that had no iteration yet has
    no pick.
    """
    carried = carry_forward(metrics)
    found: dict[Cell, dict[str, Pick]] = {}
    of_means: dict[Cell, pd.DataFrame] = {}
    if rule.stop_row == "mean" and len(carried):
        # The criteria look at perplexities, which no switch of the averaging touches.
        perplexities = Averaging(rule, "mean_of_scores", None, "keep")
        of_means = dict(by_cell(aggregate(carried, ("k",), perplexities)))
    for cell, runs in by_cell(carried[~carried["stopped"]]):
        if runs["k"].max() == 0:
            continue
        own = by_trial(runs)
        series = {trial: of_means[cell] for trial in own} if cell in of_means else own
        fired = {trial: _criteria(steps, rule.epsilon) for trial, steps in series.items()}
        last = {trial: int(steps["k"].max()) for trial, steps in series.items()}
        found[cell] = {
            name: Pick(
                {trial: ks[name] or last[trial] for trial, ks in fired.items()},
                {trial: ks[name] is not None for trial, ks in fired.items()},
            )
            for name in stopping.CRITERIA
        }
    return found


def _criteria(steps: pd.DataFrame, epsilon: float) -> dict[str, int | None]:
    """The k that each of `stopping.CRITERIA` picks in one run, or in one cell's means (SPEC C.4).

    ``steps`` has the columns k, dp and dp2; None where a criterion never fires.
    """
    steps = steps[steps["k"] > 0].sort_values("k")
    return {
        "proposed": stopping.proposed(steps["dp"].tolist(), epsilon),
        "monotonic": stopping.monotonic(steps["dp"].tolist()),
        "small_change": stopping.small_change(steps["dp2"].tolist()),
    }


def pick_table(metrics: pd.DataFrame, rule: stopping.Rule) -> pd.DataFrame:
    """picks.csv: one row per run, missing values where a criterion never fires.

    Columns: RUN; ``proposed``, ``monotonic`` and ``small_change``, the run's own picks;
    ``row_proposed``, ... the same of its cell, which the tables of all iterations mark
    (`Pick.row`); ``stop``, the k at which the run takes part in the row of the stop, and ``met``.
    """
    chosen = picks(metrics, rule)
    carried = carry_forward(metrics)
    rows = []
    for run, steps in by_run(carried[~carried["stopped"]]):
        of_cell = chosen.get(run[:3])
        if of_cell and run.trial in of_cell["proposed"].k:
            stop = of_cell["proposed"]
            own_k = min(stop.k[run.trial], int(steps["k"].max()))
            rows.append(
                run._asdict()
                | _criteria(steps, rule.epsilon)
                | {f"row_{name}": pick.row for name, pick in of_cell.items()}
                | {"stop": own_k, "met": stop.met[run.trial]}
            )
    numbers = [*stopping.CRITERIA, *(f"row_{name}" for name in stopping.CRITERIA), "stop"]
    table = pd.DataFrame(rows, columns=[*RUN, *numbers, "met"])
    return table.astype(dict.fromkeys(numbers, "Int64") | {"met": bool})


def carry_forward(metrics: pd.DataFrame) -> pd.DataFrame:
    """Every run at every k = 0, 1, ... of its cell, beyond its last iteration with its last row.

    So every k of a cell is about the same trials. Adds the columns ``own_k``, the iteration whose
    row it is, ``stopped``, whether that one is before k, and ``p_hat_before``, p_hat at k - 1 (NaN
    for k <= 1, see SPEC C.4). A dp2 that is missing is taken from these.
    """
    carried = []
    for _, method in metrics.groupby(list(CELL), sort=False):
        ks = np.arange(int(method["k"].max()) + 1)
        for _, run in method.groupby("trial", sort=False):
            own = np.minimum(ks, int(run["k"].max()))
            rows = run.set_index("k").loc[own].reset_index(drop=True)
            before = rows["p_hat"].shift().where(ks > 1)
            rows = rows.assign(k=ks, own_k=own, stopped=own < ks, p_hat_before=before)
            carried.append(
                rows.assign(dp2=rows["dp2"].fillna(pd.Series(distance(rows["p_hat"], before))))
            )
    if not carried:
        return metrics.assign(own_k=metrics["k"], stopped=False, p_hat_before=np.nan)
    return pd.concat(carried, ignore_index=True)


def by_iteration(metrics: pd.DataFrame, averaging: Averaging) -> pd.DataFrame:
    """Means over trials for every cell and k; for the columns see `aggregate`.

    A trial that stopped before k takes part with the last row it has (`carry_forward`).
    """
    return aggregate(carry_forward(metrics), ("k",), averaging)


def at_stop(metrics: pd.DataFrame, averaging: Averaging) -> pd.DataFrame:
    """Means over trials at the stop, one row per cell: `at_picks` of the proposed criterion."""
    stops = {cell: of_cell["proposed"] for cell, of_cell in picks(metrics, averaging.rule).items()}
    return at_picks(metrics, stops, averaging)


def at_picks(
    metrics: pd.DataFrame, chosen: Mapping[Cell, Pick], averaging: Averaging
) -> pd.DataFrame:
    """Means over trials at the picked iterations, one row per cell of ``chosen``.

    Columns as in `aggregate`, and ``k`` (mean), ``k_text`` ("4", or "3–5" where trials differ),
    ``met`` (whether all met the rule).
    """
    carried = carry_forward(metrics)
    wanted = pd.DataFrame(
        [(*cell, t, k) for cell, pick in chosen.items() for t, k in pick.k.items()],
        columns=[*RUN, "k"],
    )
    rows = wanted.merge(carried, on=[*RUN, "k"], how="left")
    result = aggregate(rows, (), averaging)
    found = [chosen[cell] for cell, _ in by_cell(result)]  # it has one row per cell
    return result.assign(
        k=[float(np.mean(list(pick.k.values()))) for pick in found],
        k_text=[pick.text for pick in found],
        met=[all(pick.met.values()) for pick in found],
    )


def aggregate(rows: pd.DataFrame, by: Sequence[str], averaging: Averaging) -> pd.DataFrame:
    """Mean and spread over trials for every cell and ``by`` (SPEC F.3, F.4).

    ``rows`` are of `carry_forward`. No trial is left out of a mean: an infinite value makes it
    infinite, a missing one missing. dp and dp2 are those of the row's own means, |p_hat - p_bar|
    and |p_hat - p_hat_before| (SPEC C.2, C.4), while their spread is that of the trials' values; a
    row of a single trial has the values of that trial.

    Of ``averaging.trial_agg``, ``mean_of_scores`` averages everything. ``mean_of_rounded_scores``
    first rounds each trial's scores to two decimals (or to ``round_per_trial``); ``hm_of_means``
    takes the harmonic mean of the averaged parts instead, by the rule ``zeros``.
    ``round_per_trial`` rounds all fractions of each trial first (the paper's tables: 2).

    Returns the keys, the columns METRICS (means), ``{column}_sd`` (sample standard deviation, NaN
    for one trial), ``n_trials``, ``n_requests`` (the mean over trials) and ``n_stopped`` (trials
    that had stopped before).
    """
    keys = [*CELL, *by]
    rows = rows.copy()
    if averaging.round_per_trial is not None:
        rows[list(FRACTIONS)] = rows[list(FRACTIONS)].round(averaging.round_per_trial)
    elif averaging.trial_agg == "mean_of_rounded_scores":
        rows[list(SCORES)] = rows[list(SCORES)].round(2)
    groups = rows.groupby(keys, sort=False)
    # An infinite value makes the spread undefined, which numpy would report as a warning.
    with np.errstate(invalid="ignore"):
        means = groups[[*METRICS, "p_hat_before"]].mean(skipna=False)
        spread = groups[list(METRICS)].std(skipna=False).add_suffix("_sd")
    for name, parts in SCORES.items() if averaging.trial_agg == "hm_of_means" else ():
        scores = [harmonic_mean(row, averaging.zeros) for row in means[list(parts)].to_numpy()]
        # A score that no trial has stays undefined: at k = 0 its parts may be there (I19).
        means[name] = np.where(means[name].isna(), np.nan, scores)
    counts = groups.agg(
        n_trials=("trial", "nunique"),
        n_requests=("n_requests", "mean"),
        n_stopped=("stopped", "sum"),
    )
    several = counts["n_trials"] > 1
    before = means.pop("p_hat_before")
    means["dp"] = means["dp"].mask(several, distance(means["p_hat"], means["p_bar"]))
    means["dp2"] = means["dp2"].mask(several, distance(means["p_hat"], before))
    return pd.concat([means, spread, counts], axis=1).reset_index()
