"""Cholesky factors of covariances: what SPREAD and ROME solve with (SPEC A.7). No transformers."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from modeledit.editing.matrix_names import layer_of
from modeledit.io.refusal import Refusal

log = logging.getLogger(__name__)

AGAIN = "gather it again, or fetch the authors' file again"
MORE = "gather it from more, and more varied, tokens"


class CovarianceError(Refusal):
    """Statistics that do not fit the model or cannot be inverted."""


RIDGES = (0.0, *(10.0**e for e in range(-10, -3)))
"""What may be added to the diagonal of C, as shares of its mean, in the order of the attempts."""
MOST_DEPENDENT = 0.1
"""The share of rows beyond which those that follow from the others are no matter of rounding: what
the others leave of their variance is up to a hundred times the ridge."""
ASYMMETRY = 1e-4
"""How far C may be from its transpose, as a share of its largest diagonal entry."""


class Factor(NamedTuple):
    """A Cholesky factor of C + ridge * mean(diag C) * I."""

    lower: torch.Tensor  # (d_mlp, d_mlp), lower triangular, float64
    ridge: float  # one of RIDGES; 0 where C itself is positive definite


def _named(layer: int) -> str:
    return f"the covariance of layer {layer}"


def check_moment(covariance: torch.Tensor, layer: int) -> None:
    """CovarianceError, naming the layer, where C_l is not finite or not symmetric."""
    if not torch.isfinite(covariance).all():
        raise CovarianceError(f"{_named(layer)} has values that are not finite; {AGAIN}")
    largest = float(covariance.diagonal().max())
    apart = float((covariance - covariance.T).abs_().max())
    if apart > ASYMMETRY * largest:
        raise CovarianceError(
            f"{_named(layer)} is not symmetric: entries that should be equal differ by "
            f"{apart:.3g}, its largest variance is {largest:.3g}; {AGAIN}"
        )


def factorize(covariance: torch.Tensor, layer: int) -> Factor:
    """Cholesky factor of C_l in float64, with the smallest ridge that it takes.

    SPREAD solves with lambda C, so this one factor serves every lambda, method, trial and
    iteration. C in exact arithmetic is positive semidefinite; sums in float32, as ours within a
    text and the authors' are, leave it slightly indefinite where eigenvalues are tiny. Then the
    smallest of RIDGES with which the factorisation succeeds is added, and a warning says so. Raises
    CovarianceError as `check_moment` does, where the largest ridge does not do, or where the ridge
    would stand in for more than MOST_DEPENDENT of the rows, as when fewer different tokens than
    d_mlp were seen.
    """
    check_moment(covariance, layer)
    named, rows = _named(layer), len(covariance)
    mean = float(covariance.diagonal().double().mean())
    for ridge in RIDGES:
        lower = _cholesky(covariance, ridge * mean)
        if lower is not None:
            break
    else:
        raise CovarianceError(
            f"{named} is not positive definite, not even with {ridge:g} of its mean variance added "
            f"to the diagonal; {MORE}; the key has {rows} rows"
        )
    if ridge:
        # A squared pivot is what is left of a row's variance given the rows before it.
        dependent = int((lower.diagonal() ** 2 <= 100 * ridge * mean).sum())
        if dependent > MOST_DEPENDENT * rows:
            raise CovarianceError(
                f"{named} is not positive definite: {dependent} rows of the key follow from the "
                f"others; {MORE}; the key has {rows} rows"
            )
        log.warning(
            "%s is not positive definite: %g of its mean variance added to the diagonal; %d of %d "
            "rows of the key follow from the others",
            named,
            ridge,
            dependent,
            rows,
        )
    return Factor(lower, ridge)


def _cholesky(covariance: torch.Tensor, added: float) -> torch.Tensor | None:
    """Cholesky factor of C with `added` on the diagonal, in float64; None where there is none."""
    matrix = covariance.to(torch.float64, copy=added != 0)
    if added:
        matrix.diagonal().add_(added)
    lower, failed = torch.linalg.cholesky_ex(matrix)
    return None if failed else lower


def factors_of(
    covariances: Mapping[str, np.ndarray], device: str
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Cholesky factors of the covariances `layer{l}`, by the same names; made on `device`.

    With them the metadata that say what was added to which diagonal: `ridge{l}`, a share of its
    mean, "0" where nothing was needed. Raises CovarianceError as `factorize` does.
    """
    factors, ridges = {}, {}
    for name, matrix in covariances.items():
        layer = layer_of(name)
        lower, ridge = factorize(torch.from_numpy(matrix).to(device), layer)
        factors[name], ridges[f"ridge{layer}"] = lower.cpu().numpy(), f"{ridge:g}"
        log.info("%s: factorised, %d x %d, ridge %g", name, *matrix.shape, ridge)
    return factors, ridges
