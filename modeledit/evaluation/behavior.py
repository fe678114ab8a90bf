"""What editing does to the behavior of a model: from what was observed of its states to numbers.

    raw files of a state --values_of--> values of each request (behavior.parquet of a run)
    values of all runs --read_values--> --pooled--> behavior.csv
                                        +--paired_tests--> behavior_tests.csv

States are the unedited model, the model after k = 1, and the one at the stop. Requests of all
trials are pooled; a text of drift, which all trials share, is one, with its mean over them. Around
each value is a percentile bootstrap over requests (or texts). `paired_tests` are permutation tests
on the same requests: "iterating" sets a method's stop against its own first iteration, "neighbor" a
neighbor-assisted method at its stop against its plain algorithm at its stop. Both are as in
`significance`, which says what they leave out; but only the main metrics are tested, and the
p of one dataset and model are corrected together after Holm. Methods that repeat one stage alone
have values and no part in the tests.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from modeledit.evaluation.behavior_metrics import BEHAVIOR_METRICS, STATES
from modeledit.evaluation.drift import (
    POOLED,
    TEXT_VALUES,
    over_positions,
    text_drift,
    unedited_drift,
    weighted,
)
from modeledit.evaluation.fluency import request_fluency
from modeledit.evaluation.generation import Objects, Prompt, request_says
from modeledit.evaluation.metrics import RUN
from modeledit.evaluation.probing import Place, Probe, request_probes
from modeledit.evaluation.resampling import Resampling, bootstrap, exchange_test, means, stream
from modeledit.evaluation.schemas import BEHAVIOR, BEHAVIOR_TESTS, BEHAVIOR_VALUES
from modeledit.evaluation.significance import paired
from modeledit.study.layout import RunKey
from modeledit.study.methods import METHODS

_POOL = 0  # in the place of a trial, in the name of the random numbers of all trials together


@dataclass(frozen=True)
class Asked:
    """What the prompts of a trial ask for: objects, probes, and texts to be consistent with."""

    objects: Mapping[Prompt, Objects]
    probes: Mapping[Place, Probe] = field(default_factory=dict)
    references: Mapping[int, Sequence[str]] = field(default_factory=dict)  # by request


@dataclass(frozen=True)
class Observed:
    """The rows of a state's raw files, each None where it was not asked for."""

    scores: pd.DataFrame | None = None
    generations: pd.DataFrame | None = None
    fluency: pd.DataFrame | None = None
    probes: pd.DataFrame | None = None
    probe_generations: pd.DataFrame | None = None
    drift: pd.DataFrame | None = None  # of an edited state


def values_of(seen: Observed, asked: Asked, k: int, state: str) -> pd.DataFrame:
    """BEHAVIOR_VALUES rows of one state, held by iteration ``k``: of what was observed of it."""
    found = []
    if seen.generations is not None:
        found.append(request_says(seen.generations, asked.objects, seen.scores))
    if seen.fluency is not None:
        found.append(request_fluency(seen.fluency, asked.references))
    if seen.probes is not None or seen.probe_generations is not None:
        found.append(request_probes(asked.probes, seen.probe_generations, seen.probes))
    if seen.drift is not None:
        found.append(text_drift(seen.drift))
    return _rows(found, k, state)


def values_before(drift: pd.DataFrame | None) -> pd.DataFrame:
    """BEHAVIOR_VALUES rows that the drift of an edited state has of the unedited model."""
    return _rows([] if drift is None else [unedited_drift(drift)], 0, STATES[0])


def _rows(found: Sequence[pd.DataFrame], k: int, state: str) -> pd.DataFrame:
    filled = [frame for frame in found if len(frame)]
    if not filled:
        return BEHAVIOR_VALUES.columns.empty_table().to_pandas()
    rows = pd.concat(filled, ignore_index=True).assign(k=k, state=state)
    return rows[list(BEHAVIOR_VALUES.names)]


def read_values(paths: Sequence[Path]) -> pd.DataFrame:
    """The runs' behavior.parquet in one frame: RUN and BEHAVIOR_VALUES.

    Raises ValueError for a file that is in no run's folder, and for one that is given twice.
    """
    runs = [RunKey.of(path.parent) for path in paths]
    if twice := [str(run) for i, run in enumerate(runs) if run in runs[:i]]:
        raise ValueError(f"behavior.parquet: {twice[0]} occurs twice; give each run's file once")
    frames = [
        BEHAVIOR_VALUES.read(path).assign(**run._asdict())
        for path, run in zip(paths, runs, strict=True)
    ]
    columns = [*RUN, *BEHAVIOR_VALUES.names]
    return (
        pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
    )


# --------------------------------------------------------------------------------------------
# Requests of all trials together


@dataclass(frozen=True)
class _Sample:
    """Values of requests or of texts, and how their means become metrics.

    ``values`` has a row per request of each trial, NaN where it has no value, or per text;
    ``finish`` makes ``metrics`` along the last axis of the columns' means along it.
    """

    values: pd.DataFrame
    metrics: tuple[str, ...]
    finish: Callable[[np.ndarray], np.ndarray]

    def count(self, values: np.ndarray) -> np.ndarray:
        """Rows behind each metric, of ``values`` (rows, columns)."""
        return (~np.isnan(values)).sum(axis=0)[-len(self.metrics) :]


@dataclass(frozen=True)
class _Cell:
    """What is known of a method on a dataset and model: values of all its runs."""

    values: pd.DataFrame
    seed: int

    @property
    def states(self) -> list[str]:
        """Those that were observed, in the order of STATES."""
        present = set(self.values["state"])
        return [state for state in STATES if state in present]

    def k(self, state: str) -> float:
        """The iteration that holds a state, the mean over trials."""
        rows = self.values[self.values["state"] == state]
        return float(rows.groupby("trial")["k"].first().mean())

    def streams(self) -> list[np.random.Generator]:
        """The random numbers of one statistic, the same ones for all methods."""
        dataset, model = self.values[["dataset", "model"]].iloc[0]
        return [stream(self.seed, dataset, model, _POOL)]

    def samples(self, state: str) -> dict[str, _Sample]:
        """The "requests" and the "texts" of a state, as far as there are any."""
        rows = self.values[self.values["state"] == state]
        of_texts = rows["metric"].isin(TEXT_VALUES)
        found = {}
        if not of_texts.all():
            wide = _wide(rows[~of_texts], ["trial", "request"])
            found["requests"] = _Sample(wide, tuple(wide.columns), lambda mean: mean)
        if of_texts.any():
            # All trials share the texts: each is one, with its mean over them.
            texts = weighted(_wide(rows[of_texts], ["request"]))
            found["texts"] = _Sample(texts, POOLED, over_positions)
        return found


def _wide(rows: pd.DataFrame, index: list[str]) -> pd.DataFrame:
    """A row per ``index``, a column per metric."""
    return rows.groupby([*index, "metric"])["value"].mean().unstack("metric")


def _cells(values: pd.DataFrame, seed: int) -> Iterator[tuple[dict, dict[str, _Cell]]]:
    """Of each dataset and model the methods, in the order of METHODS."""
    for key, of_model in values.groupby(["dataset", "model"], sort=False):
        dataset, model = cast(tuple[str, str], key)
        present = set(of_model["method"])
        cells = {
            method: _Cell(of_model[of_model["method"] == method], seed)
            for method in METHODS
            if method in present
        }
        yield {"dataset": dataset, "model": model}, cells


# --------------------------------------------------------------------------------------------
# Values and intervals


def pooled(values: pd.DataFrame, resampling: Resampling) -> pd.DataFrame:
    """BEHAVIOR rows of `read_values`: of each method before the edit, after k = 1 and at the stop.

    ``low`` and ``high`` bound the value with the confidence of ``resampling``; they are NaN around
    one that is not finite. ``unedited`` is the value of the unedited model on the same requests,
    NaN where it was not observed.
    """
    found = []
    for place, cells in _cells(values, resampling.seed):
        for method, cell in cells.items():
            before = {row["metric"]: row["value"] for row in _estimates(cell, STATES[0])}
            for state in cell.states:
                head = place | {"method": method, "state": state, "k": cell.k(state)}
                found += [
                    head | row | {"unedited": before.get(row["metric"], np.nan)}
                    for row in _estimates(cell, state, resampling)
                ]
    return pd.DataFrame(found, columns=list(BEHAVIOR.names))


def _estimates(cell: _Cell, state: str, resampling: Resampling | None = None) -> list[dict]:
    """metric, n, value, low, high of a state, in the order of BEHAVIOR_METRICS.

    Without ``resampling`` nothing is drawn, and low and high are missing.
    """
    found: dict[str, dict] = {}
    for sample in cell.samples(state).values():
        values = sample.values.to_numpy(dtype=float)
        value = sample.finish(means(values))
        low = high = np.full(len(value), np.nan)
        if resampling is not None:
            width = (resampling.resamples, resampling.confidence)
            given = [_finite(values)]
            low, high = bootstrap(given, cell.streams(), None, *width, sample.finish)
        for j, (metric, n) in enumerate(zip(sample.metrics, sample.count(values), strict=True)):
            sure = np.isfinite(value[j])
            row = {"metric": metric, "n": int(n), "value": value[j]}
            row |= {"low": low[j] if sure else np.nan, "high": high[j] if sure else np.nan}
            found[metric] = row
    return [found[metric] for metric in BEHAVIOR_METRICS if metric in found]


def _finite(values: np.ndarray) -> np.ndarray:
    """The values, NaN in the place of those that no interval or test is made of."""
    return np.where(np.isfinite(values), values, np.nan)


# --------------------------------------------------------------------------------------------
# Tests


def paired_tests(values: pd.DataFrame, resampling: Resampling) -> pd.DataFrame:
    """BEHAVIOR_TESTS rows of `read_values`.

    ``difference`` is a minus b on the requests (or texts) that both have a value for, ``n`` of
    them, with its bootstrap interval; p is 1 where nothing differs. A metric that one side has no
    finite value of has no row.
    """
    found: list[dict] = []
    for place, cells in _cells(values, resampling.seed):
        rows = [
            place | {"comparison": comparison, "a": a, "b": b} | row
            for comparison, a, b, states in _comparisons(cells)
            for row in _differences(cells[a], cells[b], states, resampling)
        ]
        corrected = holm([row["p"] for row in rows])
        found += [row | {"p_corrected": p} for row, p in zip(rows, corrected, strict=True)]
    return pd.DataFrame(found, columns=list(BEHAVIOR_TESTS.names))


def _comparisons(
    cells: Mapping[str, _Cell],
) -> Iterator[tuple[str, str, str, tuple[str, str]]]:
    """(comparison, a, b, states of a and b) of all that can be compared."""
    first, stop = STATES[1:]
    for name in cells:
        method = METHODS[name]
        if method.repeats != "both":
            continue
        yield "iterating", name, name, (stop, first)
        if method.neighbor_assisted and method.algorithm in cells:
            yield "neighbor", name, method.algorithm, (stop, stop)


def _differences(a: _Cell, b: _Cell, states: tuple[str, str], resampling: Resampling) -> list[dict]:
    """metric, n, difference, low, high, p of the main metrics, in their order."""
    found: dict[str, dict] = {}
    sides = a.samples(states[0]), b.samples(states[1])
    for name in (name for name in sides[0] if name in sides[1]):
        left, right = (side[name] for side in sides)
        both = [str(column) for column in left.values if column in right.values]
        pairs = paired(left.values[both], right.values[both])
        metrics = POOLED if name == "texts" else tuple(both)
        sample = replace(left, values=left.values[both], metrics=metrics)
        found |= _tested(sample, pairs, a, resampling)
    main = (name for name, metric in BEHAVIOR_METRICS.items() if metric.main)
    return [found[metric] for metric in main if metric in found]


def _tested(
    sample: _Sample, pairs: np.ndarray, cell: _Cell, resampling: Resampling
) -> dict[str, dict]:
    """The rows of `_differences` by metric, from pairs (rows, 2, columns)."""

    def contrast(mean: np.ndarray) -> np.ndarray:
        metrics = sample.finish(mean)
        return metrics[..., 0, :] - metrics[..., 1, :]

    with np.errstate(invalid="ignore"):
        difference = contrast(means(pairs))
    given = [_finite(pairs)]
    width = (resampling.resamples, resampling.confidence)
    low, high = bootstrap(given, cell.streams(), None, *width, contrast)
    # Of texts the weights come first; p of a perplexity is that of its mean nll.
    p = exchange_test(given, cell.streams(), None, resampling.exchanges)[-len(difference) :]
    n = sample.count(pairs[:, 0])
    return {
        metric: {
            "metric": metric,
            "n": int(n[j]),
            "difference": difference[j],
            "low": low[j],
            "high": high[j],
            "p": p[j],
        }
        for j, metric in enumerate(sample.metrics)
        if np.isfinite(difference[j])
    }


def holm(p: Sequence[float]) -> np.ndarray:
    """p corrected after Holm (1979): the i-th smallest of m times m - i + 1, never below the one
    before it, at most 1."""
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(steps, 1.0)
    return corrected
