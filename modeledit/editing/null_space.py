"""Updates inside the null space of a covariance (AlphaEdit, arXiv 2410.02355).

The keys of the unedited model hardly point into some directions: the eigenvectors of C whose
eigenvalues are small. An update that acts on these alone leaves what the model makes of other keys
as it was. With P the projector onto them, K the keys to write (d_mlp, m), R their residuals (d, m)
and E the keys of earlier edits (d_mlp, c),

    DeltaW = R K^T P (P (K K^T + E E^T) P + L2 I)^-1.

The release solves the same with a matrix that is not symmetric, in float32. Here the smaller of two
symmetric ones is factorised by Cholesky, in float64: among the directions, or among the keys.
"""

from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class Cut:
    """Which eigenvectors belong to the null space, those of the smallest eigenvalues first.

    "threshold": those whose eigenvalue is below `value`, as released (0.02). "trace": as many as
    hold at most the share `value` of the trace. "rank": `value` of them.
    """

    kind: Literal["threshold", "trace", "rank"]
    value: float

    def rank(self, eigenvalues: torch.Tensor) -> int:
        """Dimension of the null space, of `eigenvalues` (d_mlp,) in ascending order."""
        if self.kind == "threshold":
            return int((eigenvalues < self.value).sum())
        if self.kind == "trace":
            held = eigenvalues.clamp_min(0).cumsum(0)
            return int((held <= self.value * held[-1]).sum())
        return min(int(self.value), len(eigenvalues))


@dataclass(frozen=True)
class NullSpace:
    """The null space of one layer's covariance.

    `basis` (d_mlp, n) is orthonormal, of the null space or, where that is smaller, of its
    `complement`; `eigenvalues` (d_mlp,) are all of C's, ascending, float64.
    """

    basis: torch.Tensor
    complement: bool
    eigenvalues: torch.Tensor

    @property
    def rank(self) -> int:
        """Dimension of the null space."""
        return len(self.basis) - self.basis.shape[1] if self.complement else self.basis.shape[1]

    @property
    def leakage(self) -> float:
        """tr(P C) / tr(C): how much of the unedited model's keys an update can still reach."""
        values = self.eigenvalues.clamp_min(0)
        return float(values[: self.rank].sum() / values.sum())

    def project(self, keys: torch.Tensor) -> torch.Tensor:
        """P `keys`, (d_mlp, m)."""
        inside = self.basis @ (self.basis.T @ keys)
        return keys - inside if self.complement else inside


def null_space(covariance: torch.Tensor, cut: Cut) -> NullSpace:
    """The null space of C (d_mlp, d_mlp), a mean over tokens, as absolute cuts take it to be."""
    eigenvalues, vectors = torch.linalg.eigh(covariance.double())
    rank = cut.rank(eigenvalues)
    complement = 2 * rank > len(eigenvalues)
    basis = vectors[:, rank:] if complement else vectors[:, :rank]
    return NullSpace(basis.contiguous(), complement, eigenvalues)


def projected_update(
    null: NullSpace, keys: torch.Tensor, residual: torch.Tensor, earlier: torch.Tensor, l2: float
) -> torch.Tensor:
    """DeltaW (d, d_mlp), float64, for `keys` (d_mlp, m), `residual` (d, m), `earlier` (d_mlp, c).

    What is factorised has as many rows as there are keys, earlier ones too, or as the null space
    has directions, whichever is less (of a null space that is known by its complement: d_mlp).
    """
    keys, earlier = null.project(keys.double()), null.project(earlier.double())
    size = len(keys) if null.complement else null.rank
    if keys.shape[1] + earlier.shape[1] < size:
        return _among_keys(keys, residual.double(), earlier, l2)
    if null.complement:
        return _among_directions(keys, residual.double(), earlier, l2)
    inside = [null.basis.T @ values for values in (keys, earlier)]
    return _among_directions(inside[0], residual.double(), inside[1], l2) @ null.basis.T


def _among_keys(
    keys: torch.Tensor, residual: torch.Tensor, earlier: torch.Tensor, l2: float
) -> torch.Tensor:
    """[0 R] (A^T A + L2 I)^-1 A^T with A the earlier and the new projected keys."""
    together = torch.cat([earlier, keys], dim=1)
    gram = together.T @ together
    gram.diagonal().add_(l2)
    solved = torch.cholesky_solve(together.T, torch.linalg.cholesky(gram))
    return residual @ solved[earlier.shape[1] :]


def _among_directions(
    keys: torch.Tensor, residual: torch.Tensor, earlier: torch.Tensor, l2: float
) -> torch.Tensor:
    """R K^T (K K^T + E E^T + L2 I)^-1 of projected keys, in any orthonormal coordinates."""
    gram = keys @ keys.T + earlier @ earlier.T
    gram.diagonal().add_(l2)
    return torch.cholesky_solve(keys @ residual.T, torch.linalg.cholesky(gram)).T
