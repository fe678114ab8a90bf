"""Updates inside the null space of a covariance (AlphaEdit, arXiv 2410.02355).

The keys of the unedited model hardly point into some directions: the eigenvectors of C whose
eigenvalues are small. An update that acts on these alone leaves what the model makes of other keys
as it was. With P the projector onto them, K the keys to write (d_mlp, m), R their residuals (d, m)
and E the keys of earlier edits (d_mlp, c),

    DeltaW = R K^T P (P (K K^T + E E^T) P + L2 I)^-1.

The release solves the same with a matrix that is not symmetric, in float32. Here the smaller of two
symmetric ones is factorised by Cholesky, in float64: among the directions, or among the keys.
Earlier keys are keys whose residual is zero, [E K] with [0 R]: what is left of theirs counts as
nothing to be changed.
"""

from dataclasses import dataclass, replace

import torch

from modeledit.study.hyperparameters import Cut


def rank(eigenvalues: torch.Tensor, cut: Cut) -> int:
    """Dimension of the null space, of all `eigenvalues` (d_mlp,) in ascending order."""
    if cut.kind == "threshold":
        return int((eigenvalues < cut.value).sum())
    if cut.kind == "trace":
        held = eigenvalues.clamp_min(0).cumsum(0)
        return int((held <= cut.value * held[-1]).sum())
    return min(int(cut.value), len(eigenvalues))


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

    def to(self, device: torch.device) -> "NullSpace":
        """The same with its basis on `device`."""
        return replace(self, basis=self.basis.to(device))

    def project(self, keys: torch.Tensor) -> torch.Tensor:
        """P `keys`, (d_mlp, m)."""
        inside = self.basis @ (self.basis.T @ keys)
        return keys - inside if self.complement else inside


def null_space(covariance: torch.Tensor, cut: Cut) -> NullSpace:
    """The null space of C (d_mlp, d_mlp), a mean over tokens, as absolute cuts take it to be."""
    eigenvalues, vectors = torch.linalg.eigh(covariance.double())
    count = rank(eigenvalues, cut)
    complement = 2 * count > len(eigenvalues)
    basis = vectors[:, count:] if complement else vectors[:, :count]
    return NullSpace(basis.contiguous(), complement, eigenvalues)


def projected_update(
    null: NullSpace, keys: torch.Tensor, residual: torch.Tensor, l2: float
) -> torch.Tensor:
    """DeltaW (d, d_mlp), float64, of projected `keys` (d_mlp, n) and their `residual` (d, n).

    Earlier keys are among them with a residual of zero. What is factorised has as many rows as
    there are keys, or as the null space has directions, whichever is less (of a null space that is
    known by its complement: d_mlp).
    """
    keys, residual = keys.double(), residual.double()
    if keys.shape[1] < (len(keys) if null.complement else null.rank):
        gram = keys.T @ keys
        gram.diagonal().add_(l2)
        return torch.cholesky_solve(residual.T, torch.linalg.cholesky(gram)).T @ keys.T
    inside = keys if null.complement else null.basis.T @ keys
    gram = inside @ inside.T
    gram.diagonal().add_(l2)
    update = torch.cholesky_solve(inside @ residual.T, torch.linalg.cholesky(gram)).T
    return update if null.complement else update @ null.basis.T
