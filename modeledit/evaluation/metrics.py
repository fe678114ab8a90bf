"""Metrics from raw scores: per request, per run, per dataset (SPEC F; paper, section 4.2).

Scores (`scores.parquet`) hold what the model said, one row per prompt and object; nothing here
needs a model. The way up is

    scores --request_metrics--> one row per request
    scores of k = 0..K + edits --measured_run--> one row per iteration of one run (metrics.csv)

Means over trials are the business of `aggregation`.

Fractions are in 0..1 and become percentages only in tables. NaN means "not defined or not
measured"; infinity means that the model gave a target no probability at all (a collapsed model), so
that a collapse can never be mistaken for a missing value.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from modeledit.evaluation.schemas import RAW_SCORES, REQUEST_VALUES, RUN_METRICS
from modeledit.io.frames import require_choice, require_columns
from modeledit.study.layout import RunKey
from modeledit.study.switches import Switches

Accuracy = Literal["exact", "token"]
Success = Literal["sum", "mean"]
Zeros = Literal["keep", "drop"]
Perplexity = Literal["edit_rows", "legacy"]


@dataclass(frozen=True)
class Scoring:
    """How scores become the metrics of a run: the switches of these names.

    What ``accuracy`` and ``success`` do is said in `request_metrics`, ``zeros`` (the switch
    ``score_zeros``) in `harmonic_mean`, the others in `measured_run`. Raises ValueError for a value
    that is none of them.
    """

    accuracy: Accuracy
    success: Success
    zeros: Zeros
    round_specificity: int | None  # the switch round_per_trial
    perplexity: Perplexity

    def __post_init__(self) -> None:
        require_choice("accuracy", self.accuracy, ("exact", "token"))
        require_choice("success", self.success, ("sum", "mean"))
        require_choice("zeros", self.zeros, ("keep", "drop"))
        require_choice("perplexity", self.perplexity, ("edit_rows", "legacy"))

    @classmethod
    def of(cls, switches: Switches) -> Self:
        """That of a configuration's switches."""
        return cls(
            switches.accuracy,
            switches.success,
            switches.score_zeros,
            switches.round_per_trial,
            switches.perplexity,
        )


@dataclass(frozen=True)
class Metric:
    """What a column of metrics.csv is: its printed heading, unit, and where it is defined."""

    group: str  # heading over a pair of columns
    heading: str  # marked text (see `typesetting`)
    unit: Literal["fraction", "perplexity"]
    better: Literal["higher", "lower"]
    source: str


# The one place that says what each column is and how it is printed.
METRICS: dict[str, Metric] = {
    "eff_acc": Metric("Efficacy", "Accuracy", "fraction", "higher", "SPEC F.1"),
    "eff_succ": Metric("Efficacy", "Success", "fraction", "higher", "SPEC F.1"),
    "gen_acc": Metric("Generalization", "Accuracy", "fraction", "higher", "SPEC F.1"),
    "gen_succ": Metric("Generalization", "Success", "fraction", "higher", "SPEC F.1"),
    "spec_acc": Metric("Specificity", "Accuracy", "fraction", "higher", "SPEC F.1, I18"),
    "spec_succ": Metric("Specificity", "Success", "fraction", "higher", "SPEC F.1, F.2"),
    "score_acc": Metric("Score", "Accuracy", "fraction", "higher", "SPEC F.4"),
    "score_succ": Metric("Score", "Success", "fraction", "higher", "SPEC F.4"),
    "me_ppl": Metric("Perplexity", "ME-PPL-50", "perplexity", "lower", "SPEC E.3"),
    "p_bar": Metric("Perplexity", "p(θ_k, h̄_k)", "perplexity", "lower", "SPEC C.2"),
    "p_hat": Metric("Perplexity", "p(θ_k+1, ĥ_k)", "perplexity", "lower", "SPEC C.2, C.3"),
    "dp": Metric("", "|Δp_k|", "perplexity", "lower", "SPEC C.2"),  # |p_hat - p_bar| of its row
    "dp2": Metric("", "Δp_2", "perplexity", "lower", "SPEC C.4"),
}
RUN = ("dataset", "model", "method", "trial")
COLUMNS = RUN_METRICS.names
REQUEST_METRICS = tuple(name for name in REQUEST_VALUES.names if name in METRICS)
FRACTIONS = tuple(name for name, metric in METRICS.items() if metric.unit == "fraction")
SCORES = {
    "score_acc": ("eff_acc", "gen_acc", "spec_acc"),
    "score_succ": ("eff_succ", "gen_succ", "spec_succ"),
}
COLLAPSED_ABOVE = 1000.0  # ME-PPL beyond which a model counts as collapsed (SPEC J.2)

SCORE_COLUMNS = (
    "request",
    "kind",
    "index",
    "object",
    "token_ids",
    "logprobs",
    "argmax",
)
_KINDS = {"eff": "edit", "gen": "paraphrase", "spec": "neighbor"}
_PROMPT = ["request", "kind", "index"]


def defined(metric: str, k: int) -> bool:
    """Whether a metric means anything after iteration k.

    The unedited model has no score of accuracies (SPEC F.1): its specificity accuracy, where it has
    one, says how far it agrees with its own answers (I19), and enters no score.
    """
    return k > 0 or metric != "score_acc"


# --------------------------------------------------------------------------------------------
# Scores -> requests


def read_scores(path: str | Path) -> pd.DataFrame:
    """Read a `scores.parquet`; the columns token_ids, logprobs and argmax hold ragged arrays.

    Raises SchemaError when a column is missing.
    """
    return RAW_SCORES.read(path, SCORE_COLUMNS)


def request_metrics(
    scores: pd.DataFrame,
    unedited: pd.DataFrame | None,
    accuracy: Accuracy,
    success: Success,
) -> pd.DataFrame:
    """Efficacy, generalization and specificity of every request (SPEC F.1, F.3).

    Accuracy of a prompt: o* is what the model would say; ``exact`` wants all its tokens, ``token``
    gives the fraction of them (I17). Success of a prompt: log p(o*) > log p(o), strictly, reversed
    for neighbors; ``sum`` compares whole objects, ``mean`` their mean per token (I16). A
    neighbor's accuracy is agreement of the whole argmax sequence with that of the ``unedited``
    scores (I18). Where the scores hold a neighbor's object "own", what the unedited model said, it
    takes the place of "true" (F.2, I19). An object without tokens of its own (an empty answer) is
    never the likelier one, whatever it is compared with. A request's value is the mean over its
    prompts, NaN where it has none of that kind.

    When ``unedited`` is None, i.e. for the unedited model itself, a neighbor's accuracy is that of
    an edit which changes nothing: agreement of the rows of kind "self", the model put to its own
    answers, with what it said before (I19); NaN in scores without such rows, where it is 1 by
    definition.

    Returns one row per request, sorted by id: ``request`` and the six columns REQUEST_METRICS.
    Raises ValueError for unknown options and for incomplete scores.
    """
    require_choice("accuracy", accuracy, ("exact", "token"))
    require_choice("success", success, ("sum", "mean"))
    scores = _with_own_objects(scores)
    unedited = None if unedited is None else _with_own_objects(unedited)
    prompts = _prompts(scores, success)
    requests = pd.Index(np.unique(prompts.index.get_level_values("request")), name="request")
    result = pd.DataFrame(index=requests, columns=list(REQUEST_METRICS), dtype=float)
    for name, kind in _KINDS.items():
        rows = prompts[prompts.index.get_level_values("kind") == kind]
        if kind == "neighbor":
            before = scores if unedited is None else unedited
            now = _argmax(scores, "self" if unedited is None else "neighbor")
            acc = _agreement(now, _argmax(before, "neighbor"), rows.index)
            wins = rows["value_true"] > rows["value_new"]
        else:
            acc = rows["exact_new"] if accuracy == "exact" else rows["token_new"]
            wins = rows["value_new"] > rows["value_true"]
        for suffix, values in (("acc", acc), ("succ", wins)):
            means = values.astype(float).groupby(level="request").mean()
            result[f"{name}_{suffix}"] = means.reindex(requests)
    if result["eff_acc"].isna().any():
        missing = result.index[result["eff_acc"].isna()].tolist()[:5]
        raise ValueError(f"scores: no row of kind 'edit' for requests {missing}; score them again")
    return result.reset_index()


def me_perplexity(scores: pd.DataFrame) -> float:
    """ME-PPL: the mean over texts of exp(-sum_j log p(x_j | x_<j) / N) (SPEC E.3).

    N counts all input ids including BOS although only N - 1 are predicted. NaN if the scores hold
    no texts; infinite if the model gives any text no finite probability.
    """
    texts = scores[scores["kind"] == "text"]
    if texts.empty:
        return math.nan
    total = _ragged_sum(texts["logprobs"])
    with np.errstate(over="ignore"):
        return _or_infinite(np.exp(-total / _lengths(texts["token_ids"])).mean())


def mean_perplexity(values: npt.ArrayLike) -> float:
    """The mean p over edits (SPEC C.2), from a 1-D array of floats.

    No edit is left out: infinite as soon as one value is infinite or not a number, which is what a
    collapsed model gives. NaN of no values, which is no measurement.
    """
    array = np.asarray(values, dtype=float)
    if array.size == 0:
        return math.nan
    with np.errstate(over="ignore"):  # an overflowing sum is infinite, as it should be
        return _or_infinite(array.mean())


def distance(a: npt.ArrayLike, b: npt.ArrayLike) -> np.ndarray:
    """|a - b| of perplexities: NaN where one is missing, else infinite where one is infinite."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.where(np.isinf(a) | np.isinf(b), math.inf, np.abs(a - b))
    return np.where(np.isnan(a) | np.isnan(b), math.nan, gap)


def underedit(requests: pd.DataFrame) -> list[int]:
    """Ids of the UnderEdit requests in `request_metrics` of k = 1: efficacy success is 0.

    That is the paper's set f(x)[o*] < f(x)[o] (section 6.1); the released code selects by accuracy
    instead (SPEC I23).
    """
    return sorted(int(i) for i in requests.loc[requests["eff_succ"] == 0, "request"])


def harmonic_mean(values: Iterable[float], zeros: Zeros) -> float:
    """Harmonic mean of non-negative values (SPEC F.4); NaN if any value is NaN.

    ``zeros="keep"``: any zero makes the mean zero. ``"drop"``: zeros are left out first, as the
    released code does (I21), and the mean of nothing but zeros is zero. Raises ValueError for
    no values or a negative one.
    """
    require_choice("zeros", zeros, ("keep", "drop"))
    array = np.asarray(list(values), dtype=float)
    if array.size == 0 or (array < 0).any():
        raise ValueError(f"harmonic mean: needs non-negative values, got {array.tolist()}")
    if np.isnan(array).any():
        return math.nan
    kept = array[array > 0]
    if kept.size == 0 or (zeros == "keep" and kept.size < array.size):
        return 0.0
    # Scaling by the smallest value keeps 1/x finite for the tiniest x.
    low = kept.min()
    return float(low * kept.size / (low / kept).sum())


# --------------------------------------------------------------------------------------------
# Requests -> one run


@dataclass(frozen=True)
class Measured:
    """What the scores of one iteration say: `request_metrics`, and `me_perplexity`."""

    requests: pd.DataFrame
    me_ppl: float

    @classmethod
    def of(cls, scores: pd.DataFrame, unedited: pd.DataFrame | None, scoring: Scoring) -> Self:
        """That of scores which are not empty; ``unedited`` as for `request_metrics`."""
        values = request_metrics(scores, unedited, scoring.accuracy, scoring.success)
        return cls(values, me_perplexity(scores))


def mean_fractions(requests: pd.DataFrame, scoring: Scoring, k: int) -> dict[str, float]:
    """FRACTIONS of requests together, from their `request_metrics`, after k iterations or batches.

    A ``round_specificity`` of 2 rounds specificity before the score (SPEC F.3).
    """
    # Skips NaN: a request without prompts of a kind has no say in what they measure.
    means = requests[list(REQUEST_METRICS)].mean()
    row = {name: float(means[name]) for name in REQUEST_METRICS}
    if scoring.round_specificity is not None:
        for name in ("spec_acc", "spec_succ"):
            # numpy's rounding, as in the released code: Python's differs where 0.505 is a tie
            row[name] = float(np.round(row[name], scoring.round_specificity))
    return row | {
        name: harmonic_mean((row[p] for p in parts), scoring.zeros)
        if defined(name, k)
        else math.nan
        for name, parts in SCORES.items()
    }


def measured_run(
    measured: Mapping[int, Measured],
    edits: Mapping[int, pd.DataFrame],
    *,
    run: RunKey,
    scoring: Scoring,
    sequential: bool,
) -> pd.DataFrame:
    """Rows k = 0..K of one run, with the columns COLUMNS of metrics.csv.

    ``measured[0]`` is of the unedited model; iterations after the stop are left out.
    p_bar and p_hat are means over requests, |dp_k| is the difference of these means and not the
    mean difference (SPEC C.2), and p_hat of k = 0 is the mean p_init of iteration 1.
    Fractions are those of `mean_fractions`. The perplexity "legacy" takes the released code's p,
    with PMET's factor and the neighbor rows in it (I5, I6); of a ``sequential`` method, ROME, its
    p_hat is the next iteration's first value on the moving model, which the last iteration does not
    have (I7, I8).

    Raises ValueError when k = 0 or an iteration in between is missing.
    """
    if 0 not in measured:
        raise ValueError(f"{run}: no scores of the unedited model")
    done = sorted(measured)
    if done != list(range(len(done))) or any(k not in edits for k in done[1:]):
        raise ValueError(
            f"{run}: iterations {done} with edits of"
            f" {sorted(edits)} are not a chain without gaps; run the missing ones"
        )
    legacy = "_legacy" if scoring.perplexity == "legacy" else ""
    bar, hat, init = f"p_bar{legacy}", f"p_hat{legacy}", f"p_init{legacy}"
    rows: list[dict[str, float]] = []
    for k in done:
        values = measured[k].requests
        row = mean_fractions(values, scoring, k)
        row |= {"k": k, "n_requests": len(values), "me_ppl": measured[k].me_ppl}
        if k > 0:
            row |= {"p_bar": _mean_p(edits[k], bar), "p_hat": _mean_p(edits[k], hat)}
            if legacy and sequential:
                row["p_hat"] = _mean_p(edits[k + 1], init) if k < done[-1] else math.nan
            row["dp"] = float(distance(row["p_hat"], row["p_bar"]))
        elif 1 in edits:
            row["p_hat"] = _mean_p(edits[1], init)
        if k > 1:
            row["dp2"] = float(distance(row["p_hat"], rows[-1]["p_hat"]))
        rows.append(row)
    return pd.DataFrame([run._asdict() | row for row in rows], columns=list(COLUMNS))


# --------------------------------------------------------------------------------------------
# Ragged columns


def _prompts(scores: pd.DataFrame, success: Success) -> pd.DataFrame:
    """Per (request, kind, index): exact_new, token_new, value_new and value_true.

    The value of an object without tokens is minus infinity, as in the released code.
    """
    rows = scores[scores["kind"].isin(_KINDS.values())]
    if rows.empty:
        raise ValueError("scores: no edit, paraphrase or neighbor rows")
    length = _lengths(rows["token_ids"])
    bad = (length == 0) & (rows["object"] == "new")
    bad |= (_lengths(rows["logprobs"]) != length) | (_lengths(rows["argmax"]) != length)
    if bad.any():
        raise ValueError(
            "scores: token_ids, logprobs and argmax must be equally long, and those of o* not"
            f" empty; they are not for {_name(rows[bad].iloc[0])}"
        )
    owner = np.repeat(np.arange(len(rows)), length)
    hits = np.bincount(
        owner, _flat(rows["token_ids"]) == _flat(rows["argmax"]), minlength=len(rows)
    )
    value = np.where(length > 0, _ragged_sum(rows["logprobs"]), -math.inf)
    tokens = np.maximum(length, 1)
    table = pd.DataFrame(
        {
            "exact": hits == length,
            "token": hits / tokens,
            "value": value / tokens if success == "mean" else value,
        },
        index=pd.MultiIndex.from_frame(rows[[*_PROMPT, "object"]]),
    )
    if not table.index.is_unique:
        first = rows[table.index.duplicated()].iloc[0]
        raise ValueError(f"scores: {_name(first)} occurs twice")
    objects = table.index.get_level_values("object")
    new = table[objects == "new"].droplevel("object")
    true = table[objects == "true"].droplevel("object")
    lone = new.index.symmetric_difference(true.index)
    if len(lone) or len(new) + len(true) != len(table):
        where = lone[0] if len(lone) else sorted(set(objects) - {"new", "true"})
        raise ValueError(f"scores: every prompt needs the objects 'new' and 'true'; see {where}")
    return new.add_suffix("_new").join(true[["value"]].add_suffix("_true"))


def _with_own_objects(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores with each neighbor's object "own", where there is one, in the place of "true"."""
    own = scores["object"] == "own"
    if not own.any():
        return scores
    replaced = pd.MultiIndex.from_frame(scores.loc[own, _PROMPT])
    dropped = (scores["object"] == "true") & pd.MultiIndex.from_frame(scores[_PROMPT]).isin(
        replaced
    )
    return scores[~dropped].assign(object=scores["object"].where(~own, "true"))


def _argmax(scores: pd.DataFrame, kind: str) -> pd.Series:
    """The argmax sequence at each neighbor's object, from the rows of ``kind``."""
    rows = scores[(scores["kind"] == kind) & (scores["object"] == "true")]
    return rows.assign(kind="neighbor").set_index(_PROMPT)["argmax"]


def _agreement(now: pd.Series, before: pd.Series, prompts: pd.Index) -> pd.Series:
    """Per neighbor prompt: 1 where both argmax sequences are equal, else 0; NaN without ``now``."""
    if now.empty or len(prompts) == 0:
        return pd.Series(np.nan, index=prompts, dtype=float)
    for which, found in (("unedited scores", before), ("scores of own answers", now)):
        missing = prompts.difference(found.index)
        if len(missing):
            raise ValueError(f"{which}: the neighbor {missing[0]} is missing; score them again")
    now, before = now.loc[prompts], before.loc[prompts]
    length = _lengths(now)
    # Another length can only be another object text: a change of what the model says (I19).
    same = length == _lengths(before)
    owner = np.repeat(np.flatnonzero(same), length[same])
    differs = np.bincount(owner, _flat(now[same]) != _flat(before[same]), minlength=len(same))
    return pd.Series(same & (differs == 0), index=prompts)


def _flat(column: pd.Series) -> np.ndarray:
    return np.concatenate([np.asarray(v) for v in column]) if len(column) else np.empty(0)


def _lengths(column: pd.Series) -> np.ndarray:
    return np.fromiter((len(v) for v in column), dtype=np.int64, count=len(column))


def _ragged_sum(column: pd.Series) -> np.ndarray:
    """Sum of every ragged row, in float64 whatever the stored precision."""
    owner = np.repeat(np.arange(len(column)), _lengths(column))
    return np.bincount(owner, _flat(column).astype(np.float64), minlength=len(column))


# --------------------------------------------------------------------------------------------
# Perplexities


def _mean_p(edits: pd.DataFrame, column: str) -> float:
    require_columns(edits, (column,), "edits")
    return mean_perplexity(edits[column])


def _or_infinite(value: float) -> float:
    """A measured perplexity that is not a number comes from a collapsed model."""
    return math.inf if math.isnan(value) else float(value)


def _name(row: pd.Series) -> str:
    return f"request {row['request']}, {row['kind']} {row['index']}, object {row['object']!r}"
