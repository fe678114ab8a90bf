"""How sure a number is, over edits and over trials (nothing here needs a model).

The plan. The inputs are metrics.csv (one row per run and iteration) and the runs'
request_metrics.parquet (one row per run, iteration and edit). The paper prints means of three
trials without a spread.

`intervals` puts two kinds of interval around each mean:

- "trials": Student's t over the trials, from three on; the only kind for perplexities. Trials of
  opposite sign cancel in dp and dp2, so these have the interval of the signed difference, folded.
- "edits": a percentile bootstrap over edits. Edits are drawn anew within each trial, means and
  scores are computed from what was drawn, and the trials are averaged, so the trials are strata.

`differences` asks what changes on the same edits, with a bootstrap interval and a test:

- "iteration": a method at its stop (`aggregation.picks`) against its own first iteration;
- "neighbor": a neighbor-assisted method at its stop against its plain algorithm at its stop;
- "prefix": a prefixed neighbor (NAP_) against a bare one (NA_);
- "count": a further neighbor against the next smaller number of them.

Methods that repeat one stage alone have intervals, and no part in `differences`.

The test is the paired permutation test: were there no difference, each edit's two results could as
well be exchanged. That flips the sign of its difference; exchanging all metrics of an edit together
also tests the score, a harmonic mean that no single edit has. Where there are few, all exchanges
are counted, else a sample of them and the observed case, so p is never 0. All p of a file are
adjusted together after Benjamini and Hochberg (scipy.stats.false_discovery_control).

Every trial has its own random stream, named by dataset, model and trial: a result depends neither
on the order of the edits nor on what else is in the file. How edits are resampled is in
`resampling`.

What they leave out: the edits of a trial share one write to the weights and one set of contexts, so
an interval over edits says how sure the mean is for such edits in this batch; only trials show what
another batch does. A percentile interval of a mean over few edits is a little too short, and one
where all edits agree (100%) has no width. Intervals of fractions end at 0 and 1. Where a preset
rounds each trial before averaging, means over edits are of the unrounded values.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from modeledit.evaluation.aggregation import (
    CELL,
    Cell,
    by_cell,
    by_run,
    by_trial,
    carry_forward,
    picks,
    span,
)
from modeledit.evaluation.metrics import (
    FRACTIONS,
    METRICS,
    REQUEST_METRICS,
    RUN,
    SCORES,
    Zeros,
    defined,
)
from modeledit.evaluation.resampling import (
    PAIRED,
    Resampling,
    averaged,
    bootstrap,
    effect,
    exchange_test,
    means,
    stream,
)
from modeledit.io.frames import require_choice, require_columns
from modeledit.study import stopping
from modeledit.study.layout import RunKey
from modeledit.study.methods import METHODS

ALPHA = 0.05  # of the adjusted p
FEWEST_TRIALS = 3
INTERVAL_COLUMNS = (
    *CELL, "at", "k", "metric", "kind", "n_requests", "n_trials", "mean", "low", "high",
)  # fmt: skip
DIFFERENCE_COLUMNS = (
    "dataset", "model", "comparison", "a", "a_k", "b", "b_k", "metric", "n", "mean_a", "mean_b",
    "difference", "low", "high", "p", "p_adjusted", "effect", "significant",
)  # fmt: skip


def intervals(
    requests: pd.DataFrame,
    metrics: pd.DataFrame,
    *,
    rule: stopping.Rule,
    zeros: Zeros,
    resampling: Resampling,
) -> pd.DataFrame:
    """Intervals around the means over trials, of every iteration and at the stop.

    ``requests`` as from `read_requests`, ``metrics`` as from `aggregation.read_metrics`; runs
    without per-request values get no interval over edits. ``at`` is "iteration" (a trial that
    stopped before ``k`` takes part with its last row, as in `aggregation.by_iteration`) or "stop"
    (by ``rule``, ``k`` the mean over trials, as in `aggregation.at_stop`). ``n_requests``
    counts the edits of all trials. ``low`` and ``high`` bound the mean with the confidence of
    ``resampling``, and are NaN around a mean that is not finite. ``zeros`` is the score's rule
    (`metrics.harmonic_mean`).

    Returns one row per method, place, metric and kind, with INTERVAL_COLUMNS; none where a metric
    was not measured in every trial, or of kind "trials" for fewer than three. Raises ValueError
    when the two inputs do not fit together.
    """
    require_choice("zeros", zeros, ("keep", "drop"))
    runs = _Runs(requests, metrics)
    found = []
    for cell, places in by_cell(_places(metrics, rule)):
        found.append(_over_trials(places, resampling.confidence))
        found.append(_over_edits(places, runs, cell, zeros, resampling))
    found = [frame for frame in found if not frame.empty]
    rows = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    return rows.reindex(columns=list(INTERVAL_COLUMNS))


def differences(
    requests: pd.DataFrame,
    metrics: pd.DataFrame,
    *,
    rule: stopping.Rule,
    zeros: Zeros,
    resampling: Resampling,
) -> pd.DataFrame:
    """Paired tests of `a` against `b` on the same edits, with DIFFERENCE_COLUMNS.

    Inputs as for `intervals`; for the comparisons and the test see the module. A cell or run that
    never meets the rule is taken at its last iteration. ``a_k`` and ``b_k`` are the iterations as
    in `aggregation.at_stop` ("4", or "3–5" where trials differ). ``n`` counts the edits that both
    sides have a value for (all three parts, for a score); means, and ``difference`` = mean_a -
    mean_b with its bootstrap interval, are averages over the trials. ``effect`` is the mean
    difference of an edit over its standard deviation, 0 where all are equal and NaN for scores,
    which no single edit has. ``p_adjusted`` is corrected over all rows of the result,
    ``significant`` says p_adjusted <= 0.05. Two sides without any difference have p = 1; a metric
    that some trial has no pairs of has no row.
    """
    require_choice("zeros", zeros, ("keep", "drop"))
    runs = _Runs(requests, metrics)
    stops = {cell: of_cell["proposed"] for cell, of_cell in picks(metrics, rule).items()}
    rows = []
    for key, of_model in metrics.groupby(["dataset", "model"], sort=False):
        dataset, model = map(str, key)
        trials = sorted(of_model["trial"].unique().tolist())
        for comparison, a, b in _comparisons(of_model["method"].unique()):
            pairs: dict[int, np.ndarray] = {}
            ks: list[tuple[int, int]] = []
            for trial in trials:
                run_a, run_b = (RunKey(dataset, model, m, trial) for m in (a, b))
                if not (runs.edited(run_a) and runs.edited(run_b)):
                    continue
                k = (
                    stops[run_a[:3]].k[trial],
                    1 if comparison == "iteration" else stops[run_b[:3]].k[trial],
                )
                both = paired(runs.values(run_a, k[0]), runs.values(run_b, k[1]))
                if len(both):
                    pairs[trial] = both
                    ks.append(k)
            if not pairs:
                continue
            sides = {"dataset": dataset, "model": model, "comparison": comparison}
            sides |= {"a": a, "a_k": span(k for k, _ in ks)}
            sides |= {"b": b, "b_k": span(k for _, k in ks)}
            streams = [stream(resampling.seed, dataset, model, trial) for trial in pairs]
            tested = _test(list(pairs.values()), streams, zeros, resampling)
            rows += [sides | row._asdict() for row in tested]
    result = pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))
    if not result.empty:
        from scipy import stats  # long to import, and many need no more than words of this module

        result["p_adjusted"] = stats.false_discovery_control(result["p"], method="bh")
    return result.assign(significant=(result["p_adjusted"] <= ALPHA).astype(bool))


# --------------------------------------------------------------------------------------------
# Runs


class _Runs:
    """The values of each run's edits at any iteration."""

    def __init__(self, requests: pd.DataFrame, metrics: pd.DataFrame) -> None:
        require_columns(requests, (*RUN, "k", "request", *REQUEST_METRICS), "requests")
        twice = requests[requests.duplicated([*RUN, "k", "request"])]
        if not twice.empty:
            first = twice.iloc[0][[*RUN, "k", "request"]].to_dict()
            raise ValueError(f"requests: {first} occurs twice; give each run's file once")
        self.last = {run: int(rows["k"].max()) for run, rows in by_run(metrics)}
        self._wide = {
            run: frame.pivot(index="request", columns="k", values=list(REQUEST_METRICS))
            for run, frame in by_run(requests)
        }
        strange = set(self._wide) - set(self.last)
        if strange:
            raise ValueError(f"requests: the metrics have no run {min(strange)}")

    def __contains__(self, run: RunKey) -> bool:
        return run in self._wide

    def edited(self, run: RunKey) -> bool:
        return run in self and self.last[run] > 0

    def values(self, run: RunKey, k: int) -> pd.DataFrame:
        """REQUEST_METRICS of every edit of the run by request id, after iteration k.

        That is after its last one where it ended before k.
        """
        wide, k = self._wide[run], min(k, self.last[run])
        if ("eff_acc", k) not in wide.columns:
            raise ValueError(
                f"requests: {run} has no iteration {k}, its metrics do; evaluate it again"
            )
        of_k = wide[[(name, k) for name in REQUEST_METRICS]]
        return of_k.set_axis(list(REQUEST_METRICS), axis="columns").astype(float)


def _places(metrics: pd.DataFrame, rule: stopping.Rule) -> pd.DataFrame:
    """The row of each run that stands for it ``at`` every "iteration" ``k`` and at the "stop"."""
    carried = carry_forward(metrics)
    stops = {cell: of_cell["proposed"] for cell, of_cell in picks(metrics, rule).items()}
    at_stop = pd.DataFrame(
        [
            (*cell, trial, k, float(np.mean(list(stop.k.values()))))
            for cell, stop in stops.items()
            for trial, k in stop.k.items()
        ],
        columns=[*RUN, "k", "mean_k"],
    ).merge(carried, on=[*RUN, "k"])
    return pd.concat(
        [
            carried.assign(at="iteration", k=carried["k"].astype(float)),
            at_stop.assign(at="stop", k=at_stop["mean_k"]).drop(columns="mean_k"),
        ],
        ignore_index=True,
    )


def paired(a: pd.DataFrame, b: pd.DataFrame) -> np.ndarray:
    """(edits, 2, metrics) of the edits that both have; NaN where one of a pair is missing."""
    common = a.index.intersection(b.index).sort_values()
    pairs = np.stack([a.loc[common].to_numpy(), b.loc[common].to_numpy()], axis=1)
    missing = np.isnan(pairs).any(axis=1, keepdims=True)
    return np.where(missing, np.nan, pairs)


def _comparisons(methods: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """(kind, a, b) of all that can be compared among these methods, in the order of METHODS."""
    present = {
        name: method
        for name, method in METHODS.items()
        if name in set(methods) and method.repeats == "both"
    }
    for name, method in present.items():
        yield "iteration", name, name
        if not method.neighbor_assisted:
            continue
        if method.algorithm in present:
            yield "neighbor", name, method.algorithm
        kin = [
            (other.n_neighbors, other.neighbor_prefixed, label)
            for label, other in present.items()
            if other.algorithm == method.algorithm and other.neighbor_assisted
        ]
        for n, prefixed, label in kin:
            if method.neighbor_prefixed and not prefixed and n == method.n_neighbors:
                yield "prefix", name, label
        fewer = [
            (n, label)
            for n, prefixed, label in kin
            if prefixed == method.neighbor_prefixed and n < method.n_neighbors
        ]
        if fewer:
            yield "count", name, max(fewer)[1]


# --------------------------------------------------------------------------------------------
# Intervals


def _over_trials(places: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Student's t over the trials, of all METRICS that every trial has."""
    signed = places.assign(
        dp=_change(places["p_hat"], places["p_bar"]),
        dp2=_change(places["p_hat"], places["p_hat_before"]),
    )
    keys = [*CELL, "at", "k", "metric"]
    long = signed.melt([*RUN, "at", "k", "n_requests"], list(METRICS), "metric")
    with np.errstate(invalid="ignore"):  # the spread of an infinite perplexity
        found = long.groupby(keys, sort=False).agg(
            n_requests=("n_requests", "sum"),
            n_trials=("value", "count"),
            of=("value", "size"),
            mean=("value", "mean"),
            sd=("value", "std"),
        )
    enough = (found["n_trials"] >= FEWEST_TRIALS) & (found["n_trials"] == found["of"])
    found = found[enough].reset_index()
    from scipy import stats

    half = found["sd"] * stats.t.ppf((1 + confidence) / 2, found["n_trials"] - 1)
    half /= np.sqrt(found["n_trials"])
    low, high = found["mean"] - half, found["mean"] + half
    folded = found["metric"].isin(("dp", "dp2"))
    ends = np.abs(np.stack([low, high]))
    nearest = np.where((low <= 0) & (high >= 0), 0.0, ends.min(axis=0))
    high = high.mask(folded, ends.max(axis=0))
    high = high.mask(found["metric"].isin(FRACTIONS), high.clip(upper=1))
    low = low.clip(lower=0).mask(folded, nearest)
    found["mean"] = found["mean"].mask(folded, found["mean"].abs())
    return found.assign(kind="trials", low=low, high=high).drop(columns=["sd", "of"])


def _change(after: pd.Series, before: pd.Series) -> pd.Series:
    """after - before of perplexities; infinite, never undefined, where one is infinite."""
    with np.errstate(invalid="ignore"):
        change = after - before
    infinite = (np.isinf(after) | np.isinf(before)) & after.notna() & before.notna()
    return change.mask(infinite, np.inf)


def _over_edits(
    places: pd.DataFrame,
    runs: _Runs,
    cell: Cell,
    zeros: Zeros,
    resampling: Resampling,
) -> pd.DataFrame:
    """The bootstrap over edits, stratified by trial, of PAIRED at all places of one method."""
    spots = list(places[["at", "k"]].drop_duplicates().itertuples(index=False, name=None))
    values, streams = [], []
    for trial, of_trial in by_trial(places).items():
        run = RunKey(*cell, trial)
        if run in runs:
            ks = of_trial.set_index(["at", "k"])["own_k"]
            at = {k: runs.values(run, k).to_numpy() for k in set(ks)}
            values.append(np.stack([at[ks[spot]] for spot in spots], axis=1))
            streams.append(stream(resampling.seed, *cell[:2], trial))
    if not values:
        return pd.DataFrame()
    mean = averaged([means(v) for v in values], zeros)
    low, high = bootstrap(values, streams, zeros, resampling.resamples, resampling.confidence)
    n = sum((~np.isnan(v)).sum(axis=0) for v in values)
    rows = [
        (*cell, at, k, metric, _count(n[i], metric), len(values), mean[i, j], low[i, j], high[i, j])
        for i, (at, k) in enumerate(spots)
        for j, metric in enumerate(PAIRED)
        if not np.isnan(mean[i, j]) and defined(metric, k)
    ]
    columns = [name for name in INTERVAL_COLUMNS if name != "kind"]
    return pd.DataFrame(rows, columns=columns).assign(kind="edits")


# --------------------------------------------------------------------------------------------
# Tests


class _Tested(NamedTuple):
    """The columns of one metric in a row of `differences`."""

    metric: str
    n: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p: float
    effect: float


def _test(
    pairs: list[np.ndarray],
    streams: list[np.random.Generator],
    zeros: Zeros,
    resampling: Resampling,
) -> Iterator[_Tested]:
    """Rows of `differences` from pairs (edits, 2, REQUEST_METRICS) of every trial."""
    mean = averaged([means(trial) for trial in pairs], zeros)
    width = (resampling.resamples, resampling.confidence)
    low, high = bootstrap(pairs, streams, zeros, *width, lambda s: s[:, 0] - s[:, 1])
    p = exchange_test(pairs, streams, zeros, resampling.exchanges)
    each = np.concatenate([trial[:, 0] - trial[:, 1] for trial in pairs])
    n = (~np.isnan(each)).sum(axis=0)
    for j, metric in enumerate(PAIRED):
        if np.isnan(mean[:, j]).any():
            continue
        yield _Tested(
            metric=metric,
            n=_count(n, metric),
            mean_a=mean[0, j],
            mean_b=mean[1, j],
            difference=mean[0, j] - mean[1, j],
            low=low[j],
            high=high[j],
            p=p[j],
            effect=effect(each[:, j]) if metric in REQUEST_METRICS else np.nan,
        )


# --------------------------------------------------------------------------------------------
# Names and counts


def _count(n: np.ndarray, metric: str) -> int:
    """Edits behind a metric; for a score those behind the rarest of its parts."""
    parts = SCORES.get(metric, (metric,))
    return int(min(n[REQUEST_METRICS.index(part)] for part in parts))
