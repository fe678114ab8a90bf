"""How far an edit moves a model on texts that it is not about.

Both metrics are means over all predicted positions of all texts, so that a text counts by its
length:

    drift_kl  = sum_t n_t kl_t / sum_t n_t
    drift_ppl = exp(sum_t n_t nll_t / sum_t n_t)

with n_t the positions of text t, kl_t and nll_t their means in nats (DRIFT). drift_ppl is the
perplexity of the texts as one, other than ME-PPL, which is a mean of the texts' own perplexities
and counts BOS (SPEC E.3).
"""

import math

import numpy as np
import pandas as pd

from modeledit.evaluation.schemas import DRIFT
from modeledit.io.frames import require_columns

TEXT_VALUES = ("drift_tokens", "drift_kl", "drift_nll")  # of each text: n_t, kl_t, nll_t
POOLED = ("drift_kl", "drift_ppl")  # of all texts


def text_drift(drift: pd.DataFrame) -> pd.DataFrame:
    """TEXT_VALUES of each text, from DRIFT rows: ``request`` (its number), ``metric``, ``value``.

    A value that is not finite is infinite: the model collapsed.
    """
    return _long(drift, drift["kl"], drift["nll"])


def unedited_drift(drift: pd.DataFrame) -> pd.DataFrame:
    """The same of the unedited model, from the drift of an edited one; its KL is 0."""
    return _long(drift, pd.Series(0.0, index=drift.index), drift["nll_unedited"])


def _long(drift: pd.DataFrame, kl: pd.Series, nll: pd.Series) -> pd.DataFrame:
    require_columns(drift, DRIFT.names, DRIFT.file)
    columns = dict(zip(TEXT_VALUES, (drift["tokens"], kl, nll), strict=True))
    frame = pd.DataFrame(columns).astype(float).fillna(math.inf).assign(request=drift["text"])
    return frame.melt("request", var_name="metric", value_name="value")


def weighted(texts: pd.DataFrame) -> pd.DataFrame:
    """n_t, n_t kl_t and n_t nll_t by text, from TEXT_VALUES by text.

    n_t is relative to its mean, so that the means over texts of the last two are those over
    positions.
    """
    tokens, *others = TEXT_VALUES
    share = texts[tokens] / texts[tokens].mean()
    return pd.DataFrame({tokens: share} | {name: share * texts[name] for name in others})


def over_positions(sums: np.ndarray) -> np.ndarray:
    """POOLED along the last axis, from means over texts of `weighted` along it."""
    with np.errstate(over="ignore", invalid="ignore"):  # a collapsed model's are infinite
        means = sums[..., 1:] / sums[..., :1]
        return np.stack([means[..., 0], np.exp(means[..., 1])], axis=-1)
