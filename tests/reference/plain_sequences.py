"""The plain reference of AlphaEdit and MEMIT_seq: batches one after another, each iterated (A.9).

As `plain`, it shares no code with the package. It does what the release does: d_mlp x d_mlp
matrices, a sum of K K^T for earlier keys that is filled after the layers are written, and one dense
solve of a matrix that is not symmetric; only in float64.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tests.reference import plain


def projector(covariance: Tensor, threshold: float) -> Tensor:
    """P = U0 U0^T of the singular vectors whose singular value is below `threshold` (A.9)."""
    vectors, values, _ = torch.linalg.svd(covariance)
    null = vectors[:, values < threshold]
    return null @ null.T


@dataclass
class Method:
    """AlphaEdit with its projectors and L2, or with `covariances` MEMIT_seq.

    `cached` is "none", "other_batches" or "released": which earlier keys a solve sees (I25).
    """

    settings: plain.Settings  # MEMIT's: OPTIMIZATION, keys and residual are the same
    cached: str
    projectors: dict[int, Tensor] = field(default_factory=dict)
    l2: float = 10.0
    covariances: dict[int, Tensor] = field(default_factory=dict)
    n_neighbors: int = 0

    def update(self, layer: int, k: Tensor, residual: Tensor, cache: Tensor) -> Tensor:
        """DeltaW [d, d_mlp] from keys [d_mlp, m], residual [d, m] and the sum of earlier K K^T."""
        if self.covariances:
            a = self.settings.covariance_weight * self.covariances[layer] + cache + k @ k.T
            return torch.linalg.solve(a, k @ residual.T).T
        p = self.projectors[layer]
        a = p @ (k @ k.T + cache) + self.l2 * torch.eye(len(p), dtype=p.dtype)
        return torch.linalg.solve(a, p @ k @ residual.T).T


def all_keys(model: nn.Module, tokenizer, requests: Sequence, contexts, layer: int) -> Tensor:
    """K [d_mlp, m], float64."""
    columns = [plain.keys(model, tokenizer, request, contexts, layer) for request in requests]
    return torch.stack(columns, dim=1).double()


def spread(
    model: nn.Module, tokenizer, requests: Sequence, targets: Sequence[Tensor], contexts,
    method: Method, caches: dict[int, Tensor],
) -> None:  # fmt: skip
    """Write the targets into the layers, one layer after another, in place."""
    settings = method.settings
    for i, layer in enumerate(settings.layers):
        k = all_keys(model, tokenizer, requests, contexts, layer)
        now = [plain.current_state(model, tokenizer, request, settings) for request in requests]
        wanted = torch.stack(list(targets), dim=1).double()
        residual = (wanted - torch.stack(now, dim=1).double()) / (len(settings.layers) - i)
        update = method.update(layer, k, residual, caches[layer])
        plain.add_to_weight(plain.locate(model).down[layer], update)


def edit_in_sequence(
    unedited: nn.Module, tokenizer, batches: Sequence[Sequence], contexts, method: Method,
    iterations: int,
) -> list[nn.Module]:  # fmt: skip
    """The models after each iteration of each batch, in order; every batch has all iterations."""
    model, found = deepcopy(unedited), []
    width = plain.locate(model).down[method.settings.layers[0]]
    d_mlp = plain.weight_out_in(width).shape[1]
    caches = {i: torch.zeros(d_mlp, d_mlp, dtype=torch.float64) for i in method.settings.layers}
    for batch in batches:
        for k in range(1, iterations + 1):
            targets = [
                plain.optimize(
                    model, tokenizer, request, contexts, method.settings,
                    request.editing_neighbors[: method.n_neighbors],
                ).target
                for request in batch
            ]  # fmt: skip
            spread(model, tokenizer, batch, targets, contexts, method, caches)
            last = k == iterations
            if method.cached == "released" or (method.cached == "other_batches" and last):
                for layer in method.settings.layers:  # on the edited model, as the release does
                    keys = all_keys(model, tokenizer, batch, contexts, layer)
                    caches[layer] += keys @ keys.T
            found.append(deepcopy(model))
    return found
