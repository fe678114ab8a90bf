"""Resampling edits: bootstrap intervals and the paired permutation test, on arrays.

Values are arrays (edits, ..., REQUEST_METRICS), one per trial, NaN where an edit has none.
Statistics have PAIRED along their last axis: each trial's means, the scores of these means, all
averaged over the trials. A resample is a row of weights, and one product of the weights with the
values serves all metrics and iterations, where scipy.stats.bootstrap and permutation_test resample
one statistic at a time; the tests compare the two. Values of other metrics have no scores: they are
resampled with the rule ``zeros`` as None.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modeledit.evaluation.metrics import REQUEST_METRICS, SCORES, Zeros

PAIRED = (*REQUEST_METRICS, *SCORES)  # the metrics that come from edits
EXACT = 13  # differing pairs up to which all exchanges are enumerated

_BATCH = 1024  # exchanges held in memory at once
_ZERO = 1e-12  # sums of exchanged halves miss an exact zero by rounding
_TIE = 1e-9  # and an equal difference


@dataclass(frozen=True)
class Resampling:
    """What is drawn at random, how often, and how sure an interval is."""

    seed: int
    resamples: int = 2000  # of an interval
    exchanges: int = 9999  # of a permutation test
    confidence: float = 0.95


def stream(seed: int, dataset: str, model: str, trial: int) -> np.random.Generator:
    """The trial's own random numbers, shared by all its methods: they edit the same requests."""
    return np.random.default_rng([seed, zlib.crc32(f"{dataset}/{model}/trial{trial}".encode())])


def means(values: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Means over edits; with weights (resamples, edits), one for each row of weights.

    NaN is skipped: these are REQUEST_METRICS, which an edit without prompts of a kind lacks.
    """
    rows = np.ones((1, len(values))) if weights is None else weights
    known = ~np.isnan(values)
    totals = rows @ np.where(known, values, 0.0).reshape(len(values), -1)
    counts = rows @ known.astype(float).reshape(len(values), -1)
    with np.errstate(invalid="ignore"):
        result = (totals / counts).reshape(len(rows), *values.shape[1:])
    return result[0] if weights is None else result


def averaged(trial_means: list[np.ndarray], zeros: Zeros | None) -> np.ndarray:
    """Each trial's means with their scores appended, averaged; NaN where a trial has none.

    Without ``zeros`` nothing is appended: the values are others than REQUEST_METRICS.
    """
    every = trial_means if zeros is None else [_with_scores(one, zeros) for one in trial_means]
    return np.mean(every, axis=0)


def bootstrap(
    values: list[np.ndarray],
    streams: list[np.random.Generator],
    zeros: Zeros | None,
    resamples: int,
    confidence: float,
    contrast: Callable[[np.ndarray], np.ndarray] = lambda statistic: statistic,
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of the percentile intervals of the statistics or a contrast of them.

    Edits are drawn with replacement within each trial, all metrics of an edit together.
    """
    drawn = []
    for trial, numbers in zip(values, streams, strict=True):
        n = len(trial)
        edits = numbers.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
        weights = np.bincount(edits.ravel(), minlength=resamples * n).reshape(resamples, n)
        drawn.append(means(trial, weights.astype(float)))
    shares = [(1 - confidence) / 2, (1 + confidence) / 2]
    statistic = contrast(averaged(drawn, zeros))
    defined = ~np.isnan(statistic).all(axis=0)
    low, high = np.nanquantile(np.where(defined, statistic, 0.0), shares, axis=0)
    return np.where(defined, low, np.nan), np.where(defined, high, np.nan)


def exchange_test(
    pairs: list[np.ndarray],
    streams: list[np.random.Generator],
    zeros: Zeros | None,
    exchanges: int,
) -> np.ndarray:
    """Two-sided p of PAIRED under exchange of the two sides of any edit; 1 where they are equal.

    ``pairs`` are (edits, 2, metrics), NaN on both sides where one is missing. All metrics of an
    edit are exchanged together. Up to EXACT differing pairs every exchange is counted; beyond,
    ``exchanges`` random ones and the observed case.
    """
    middle = [means(trial.mean(axis=1)) for trial in pairs]
    known = [(~np.isnan(trial[:, 0])).sum(axis=0) for trial in pairs]
    halves = [np.nan_to_num(trial[:, 0] - trial[:, 1]) / 2 for trial in pairs]
    halves = [half[half.any(axis=1)] for half in halves]  # exchanging equals changes nothing
    sizes = [len(half) for half in halves]

    def statistic(signs: list[np.ndarray]) -> np.ndarray:
        sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for sign, half, centre, n in zip(signs, halves, middle, known, strict=True):
            with np.errstate(invalid="ignore"):
                shift = sign @ half / n
            sides[0].append(centre + shift)
            sides[1].append(centre - shift)
        return averaged(sides[0], zeros) - averaged(sides[1], zeros)

    observed = np.abs(statistic([np.ones((1, size)) for size in sizes])) - _TIE
    if sum(sizes) <= EXACT:
        bits = np.arange(2 ** sum(sizes))[:, None] >> np.arange(sum(sizes)) & 1
        signs = np.split(1.0 - 2.0 * bits, np.cumsum(sizes)[:-1], axis=1)
        return (np.abs(statistic(signs)) >= observed).mean(axis=0)
    extreme = np.ones(observed.shape[-1])  # the observed case
    for start in range(0, exchanges, _BATCH):
        rows = min(_BATCH, exchanges - start)
        drawn = [
            1.0 - 2.0 * numbers.integers(2, size=(rows, size), dtype=np.int8)
            for numbers, size in zip(streams, sizes, strict=True)
        ]
        extreme = extreme + (np.abs(statistic(drawn)) >= observed).sum(axis=0)
    return extreme / (exchanges + 1)


def effect(each: np.ndarray) -> float:
    """Mean of the edits' differences over their standard deviation; 0 where all are equal."""
    each = each[~np.isnan(each)]
    spread = each.std(ddof=1) if len(each) > 1 else 0.0
    return float(each.mean() / spread) if spread > _ZERO else 0.0


def _with_scores(means: np.ndarray, zeros: Zeros) -> np.ndarray:
    """PAIRED from REQUEST_METRICS along the last axis: `metrics.harmonic_mean` for arrays."""
    scores = []
    for names in SCORES.values():
        parts = means[..., [REQUEST_METRICS.index(name) for name in names]]
        kept = ~(parts < _ZERO)
        count = kept.sum(axis=-1)
        total = np.divide(1.0, parts, out=np.zeros_like(parts), where=kept).sum(axis=-1)
        score = np.divide(count, total, out=np.zeros_like(total), where=count > 0)
        if zeros == "keep":
            score = np.where((count < len(names)) & ~np.isnan(score), 0.0, score)
        scores.append(score)
    return np.concatenate([means, np.stack(scores, axis=-1)], axis=-1)
