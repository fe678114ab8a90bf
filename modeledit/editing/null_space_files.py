"""Null spaces on disk: found once for a model, read layer by layer (SPEC A.9).

The file holds of each layer the smaller of the two bases, of the null space or of its complement,
and all eigenvalues of the covariance. Its metadata say what the covariance was made of, the digest
of each covariance matrix, and the cut.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from modeledit.editing.factors import AGAIN, CovarianceError, check_moment
from modeledit.editing.matrix_names import BASIS, EIGENVALUES
from modeledit.editing.null_space import NullSpace, null_space
from modeledit.evaluation.schemas import NULL_SPACES, SPECTRA
from modeledit.io.files import AGAIN as ANEW
from modeledit.io.files import StateError
from modeledit.io.matrices import array_digest, describe_matrices, read_matrix
from modeledit.study.hyperparameters import Cut

log = logging.getLogger(__name__)

FURTHEST = 30.0
"""How many times the trace of a covariance may be the mean |k|^2 of a few texts, or the reverse.

They differ by a fifth on the default model. A sum over tokens is some 10^4 to 10^8 times the mean.
"""
OTHER_CUT = "choose another cut: null_space of AlphaEdit in config/models"


@dataclass(frozen=True)
class NullSpaces:
    """What is found of a model: the matrices and metadata of its file, and two tables."""

    matrices: dict[str, np.ndarray]
    metadata: dict[str, str]
    summary: pd.DataFrame  # NULL_SPACES
    spectra: pd.DataFrame  # SPECTRA


def cut_metadata(cut: Cut) -> dict[str, str]:
    """How a file of null spaces says which cut it was made with."""
    return {"cut": cut.kind, "cut_value": f"{cut.value:g}"}


def find_null_spaces(
    covariances: Mapping[int, np.ndarray],
    mean_squares: Mapping[int, float],
    cut: Cut,
    device: str,
) -> NullSpaces:
    """The null space of each layer's covariance (d_mlp, d_mlp), found in float64 on `device`.

    `mean_squares` has the mean |k|^2 of a few texts at each layer. Raises CovarianceError, naming
    the layer, where a covariance is no second moment or no mean over tokens, and where nothing is
    below the cut.
    """
    matrices, metadata = {}, cut_metadata(cut)
    rows, spectra = [], []
    for layer in covariances:
        covariance = covariances[layer]
        _check_mean(covariance, mean_squares[layer], layer)
        moment = torch.from_numpy(covariance).to(device)
        check_moment(moment, layer)
        null = null_space(moment, cut)
        del moment
        _check_rank(null, cut, layer)
        values = null.eigenvalues.cpu().numpy()
        matrices[f"{BASIS}{layer}"] = null.basis.cpu().numpy()
        matrices[f"{EIGENVALUES}{layer}"] = values
        metadata |= {
            f"complement{layer}": str(null.complement).lower(),
            f"rank{layer}": str(null.rank),
            f"covariance{layer}": array_digest(covariance),
        }
        rows.append(_row(null, cut, layer) | {"mean_square": mean_squares[layer]})
        index = np.arange(1, len(values) + 1)
        spectra.append(pd.DataFrame({"layer": layer, "index": index, "eigenvalue": values}))
        log.info(
            "layer %d: rank %d of %d, leakage %.3g", layer, null.rank, len(values), null.leakage
        )
    summary = pd.DataFrame(rows, columns=list(NULL_SPACES.names))
    return NullSpaces(
        matrices, metadata, summary, pd.concat(spectra)[list(SPECTRA.names)].reset_index(drop=True)
    )


def _check_mean(covariance: np.ndarray, mean_square: float, layer: int) -> None:
    """CovarianceError unless the trace is about the mean |k|^2 of other texts.

    A threshold is for a mean over tokens. That a file holds sums shows in nothing but its size, so
    it is held against keys of the model itself: one forward pass of a thousand tokens, to the last
    of the layers, beside eigenvectors that take minutes.
    """
    trace = float(np.trace(covariance, dtype=np.float64))
    if not np.isfinite(trace) or mean_square / FURTHEST <= trace <= FURTHEST * mean_square:
        return  # what is not finite is told by `check_moment`
    raise CovarianceError(
        f"the covariance of layer {layer} is no mean over tokens of this model: its trace is "
        f"{trace:.4g}, the mean |k|^2 of a few texts is {mean_square:.4g}; does it hold sums, not "
        f"divided by the number of tokens, or is it another model's? {AGAIN}"
    )


def _check_rank(null: NullSpace, cut: Cut, layer: int) -> None:
    """CovarianceError where no direction is left to write into; a warning where all are."""
    smallest, largest = float(null.eigenvalues[0]), float(null.eigenvalues[-1])
    said = f"layer {layer}: null_space {cut.kind} {cut.value:g}"
    if null.rank == 0:
        raise CovarianceError(
            f"{said} leaves no direction to write into, every update would be zero; the "
            f"eigenvalues of the covariance go from {smallest:.3g} to {largest:.3g}; {OTHER_CUT}"
        )
    if null.rank == len(null.eigenvalues):
        log.warning(
            "%s takes all %d directions, nothing is protected; the eigenvalues of the covariance "
            "go from %.3g to %.3g; %s",
            said,
            null.rank,
            smallest,
            largest,
            OTHER_CUT,
        )


def _row(null: NullSpace, cut: Cut, layer: int) -> dict[str, Any]:
    """A row of NULL_SPACES, but for the check."""
    rows = len(null.eigenvalues)
    return {
        "layer": layer,
        "rank": null.rank,
        "d_mlp": rows,
        "share": null.rank / rows,
        "cut": cut.kind,
        "value": cut.value,
        "trace": float(null.eigenvalues.sum()),
        "smallest": float(null.eigenvalues[0]),
        "largest": float(null.eigenvalues[-1]),
        "leakage": null.leakage,
        "outside": 1 - null.leakage,
    }


class LazyNullSpaces(Mapping[int, NullSpace]):
    """The null spaces in a file by layer, each read when it is asked for, on the CPU.

    Raises StateError where the file's metadata, a layer or a shape is not the expected one, and
    when a matrix is read that is not what was written. `expected` may hold `base`, the sha256 of
    the model's weights, and `cut_metadata`.
    """

    def __init__(
        self, path: Path, expected: Mapping[str, str], layers: Sequence[int], width: int
    ) -> None:
        self.path, self.layers = path, layers
        described = describe_matrices(path, expected)
        self._complements: dict[int, bool] = {}
        for layer in layers:
            kind = described.metadata.get(f"complement{layer}")
            rank = described.metadata.get(f"rank{layer}", "")
            if kind not in ("true", "false") or not rank.isdigit():
                raise StateError(f"{path}: no null space of layer {layer}; {ANEW}")
            columns = width - int(rank) if kind == "true" else int(rank)
            for name, shape in ((BASIS, [width, columns]), (EIGENVALUES, [width])):
                found = described.shapes.get(f"{name}{layer}")
                if found != shape:
                    raise StateError(
                        f"{path}: {name}{layer} has shape {found}, the model's keys and rank "
                        f"{rank} need {shape}; {ANEW}"
                    )
            self._complements[layer] = kind == "true"

    def __getitem__(self, layer: int) -> NullSpace:
        basis, values = (
            torch.from_numpy(read_matrix(self.path, f"{name}{layer}"))
            for name in (BASIS, EIGENVALUES)
        )
        return NullSpace(basis, self._complements[layer], values)

    def __iter__(self) -> Iterator[int]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)
