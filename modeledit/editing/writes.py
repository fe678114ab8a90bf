"""How a layer is written: what SPREAD makes of the layer's keys and residuals, by method.

Keys K (d_mlp, m) with residuals R (d, m) are to be written, other keys to be left alone: those
that the covariance stands for, by weighing them (MEMIT, PMET) or by staying out of the space they
fill (AlphaEdit), and those of earlier edits E (d_mlp, c), which are keys whose residual is zero:
[E K] with [0 R] is solved for. So what earlier edits still lack of their targets counts as nothing
to be changed, and batches in sequence are the joint solution only where they had reached them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch

from modeledit.editing.least_squares import least_squares_update
from modeledit.editing.null_space import NullSpace, projected_update

Earlier = Mapping[int, torch.Tensor]
"""Keys of earlier edits by layer, (c, d_mlp), as a write left them; a layer without has none."""


class Write(Protocol):
    """Makes a layer's update DeltaW (d, d_mlp), float64, of keys (d_mlp, m) and residual (d, m).

    With it come the keys (d_mlp, m) that later edits keep in place, None if they will not.
    """

    def __call__(
        self, layer: int, keys: torch.Tensor, residual: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]: ...


@dataclass(frozen=True)
class CovarianceWrite:
    """DeltaW = R K^T (weight C + E E^T + K K^T)^-1 (SPEC A.7, step 4; MEMIT_seq has the E).

    `factors[layer]` is the Cholesky factor of C_l; it is asked for once per layer, so it may be
    read from disk then.
    """

    factors: Mapping[int, torch.Tensor]
    weight: float  # lambda, "mom2_update_weight"
    earlier: Earlier = field(default_factory=dict)
    keeps_keys: bool = False

    def __call__(
        self, layer: int, keys: torch.Tensor, residual: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        factor = torch.as_tensor(self.factors[layer], device=keys.device)
        given = _with_earlier(self.earlier.get(layer), keys, residual)
        update = least_squares_update(factor, *given, self.weight)
        return update, keys if self.keeps_keys else None


@dataclass(frozen=True)
class NullSpaceWrite:
    """DeltaW = R K^T P (P (E E^T + K K^T) P + L2 I)^-1 (SPEC A.9; AlphaEdit)."""

    null_spaces: Mapping[int, NullSpace]
    l2: float
    earlier: Earlier = field(default_factory=dict)
    keeps_keys: bool = True

    def __call__(
        self, layer: int, keys: torch.Tensor, residual: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        null = self.null_spaces[layer].to(keys.device)
        projected = null.project(keys.double())
        given = _with_earlier(self.earlier.get(layer), projected, residual)
        update = projected_update(null, *given, self.l2)
        return update, projected if self.keeps_keys else None


def _with_earlier(
    earlier: torch.Tensor | None, keys: torch.Tensor, residual: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """[E K] and [0 R]."""
    if earlier is None or not len(earlier):
        return keys, residual
    before = earlier.to(keys.device, keys.dtype).T
    nothing = residual.new_zeros(len(residual), before.shape[1])
    return torch.cat([before, keys], dim=1), torch.cat([nothing, residual], dim=1)
