"""SPREAD: write target states into the down projections (SPEC A.7; paper, section 2).

Functions that compute an update are kept apart from the one that applies it. All keys of a layer
are gathered in batches, and the hidden states in front of the layer being written are carried
along, so each block below the last edited one runs twice per row and nothing above it runs at all.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from modeledit.lm.hooks import leave_before, record
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import Row
from modeledit.lm.trees import Below, run_tree


class NotFinite(ArithmeticError):
    """What was to be written holds NaN or infinity; nothing of it is in the model.

    `rows` are the places of the requests to blame among those given; empty where it is all of them.
    """

    def __init__(self, what: str, rows: Sequence[int] = ()):
        super().__init__(what)
        self.rows = list(rows)


def check_finite(values: torch.Tensor, what: str) -> None:
    """Raise NotFinite, naming the rows, unless all `values` (rows, width) are finite."""
    bad = (~torch.isfinite(values).all(dim=1)).nonzero()[:, 0].tolist()
    if bad:
        raise NotFinite(f"{what} is not finite", bad)


def new_weight(old: torch.Tensor, update: torch.Tensor, layer: int) -> torch.Tensor:
    """`old` + `update` (float64) in the type of `old`; raises NotFinite where that overflows."""
    new = (old.double() + update).to(old.dtype)
    if not torch.isfinite(new).all():
        raise NotFinite(f"layer {layer}: the updated matrix is not finite")
    return new


@dataclass(frozen=True)
class SpreadSettings:
    """Layers in ascending order, lambda, where the residual is read, and how it is shared out."""

    layers: tuple[int, ...]
    covariance_weight: float  # lambda, "mom2_update_weight"
    residual_site: str  # "block" (MEMIT) or "mlp" (PMET)
    sharing: str  # "linear": R/(L-i); "sqrt": R/sqrt(L-i)

    def share(self, i: int) -> float:
        """Divisor of the residual at the i-th layer; the last layer gets all of it."""
        left = len(self.layers) - i
        return left if self.sharing == "linear" else math.sqrt(left)


def least_squares_update(
    factor: torch.Tensor, keys: torch.Tensor, residual: torch.Tensor, weight: float
) -> torch.Tensor:
    """DeltaW = R K^T (weight C + K K^T)^-1, (d, d_mlp), float64 (SPEC A.7, step 4).

    `factor` is the Cholesky factor of C, (d_mlp, d_mlp), `keys` K (d_mlp, m), `residual` R (d, m).
    With fewer requests than d_mlp the inverse is taken in the m x m space (Woodbury), where nothing
    of the size of C has to be factorised again.
    """
    factor, keys, residual = factor.double(), keys.double(), residual.double()
    d_mlp, m = keys.shape
    if m >= d_mlp:
        whole = torch.linalg.cholesky(weight * (factor @ factor.T) + keys @ keys.T)
        return torch.cholesky_solve(keys @ residual.T, whole).T
    solved = torch.cholesky_solve(keys, factor) / weight  # (weight C)^-1 K
    small = keys.T @ solved
    small.diagonal().add_(1.0)
    return residual @ torch.cholesky_solve(solved.T, torch.linalg.cholesky(small))


class KeyRows(Below):
    """Key rows of requests with the hidden states in front of the block that is next.

    A row ends at its subject's last token: nothing after it can change what is read there.
    """

    def __init__(self, model: EditableModel, rows: Sequence[Row], budget: int, layer: int):
        super().__init__(model, [row.ids[: row.subject + 1] for row in rows], budget, layer)

    def at_subject(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        """(rows, width) values at each row's subject, in the rows' own order."""
        picked = [
            tree.at(tensor, [-1] * len(tree.paths))
            for tree, tensor in zip(self.trees, tensors, strict=True)
        ]
        order = torch.tensor([g for group in self.groups for g in group])
        return torch.cat(picked)[order.argsort().to(self.model.device)]

    def keys(self, layer: int) -> torch.Tensor:
        """Inputs of the down projection of `layer`, the next block, (rows, d_mlp)."""
        seen = []
        for tree, hidden in zip(self.trees, self.hidden, strict=True):
            with leave_before(self.model.part(layer, "down")) as inputs:
                run_tree(self.model, tree, layer, layer + 1, hidden)
            seen += inputs
        return self.at_subject(seen)

    def values(self, last: int, site: str) -> torch.Tensor:
        """Current output at `site` of block `last`, (rows, d), the rows' hidden states unmoved."""
        seen = []
        for tree, hidden in zip(self.trees, self.hidden, strict=True):
            with record(self.model.part(last, site), "output") as outputs:
                run_tree(self.model, tree, self.layer, last + 1, hidden)
            seen += outputs
        return self.at_subject(seen)


@torch.no_grad()
def spread(
    model: EditableModel,
    key_rows: Sequence[Sequence[Row]],
    targets: torch.Tensor,
    factors: Mapping[int, torch.Tensor],
    settings: SpreadSettings,
    token_budget: int = 4096,
    on_layer: Callable[[int, float, float], None] = lambda layer, residual, update: None,
) -> None:
    """Write `targets` (m, d) into the model, layer by layer.

    `key_rows[i]` holds request i's rows, the bare context first; a key is half the bare row's and
    half the mean of the prefixed ones (SPEC A.7, step 1). `factors[layer]` is the Cholesky factor
    of C_l; it is asked for once per layer, so it may be read from disk then. `on_layer(layer, mean
    residual norm, relative update norm)` reports progress. All layers are written or none: raises
    NotFinite, with the model as it was, when a target, key, residual or update is not finite.
    """
    check_finite(targets, "the target")
    written: list[tuple[int, torch.Tensor]] = []
    try:
        changes = _new_weights(model, key_rows, targets, factors, settings, token_budget, on_layer)
        for layer, new in changes:
            written.append((layer, model.down_weight(layer).to("cpu", copy=True)))
            model.write_down_weight(layer, new)
    except NotFinite:
        for layer, old in written:
            model.write_down_weight(layer, old)
        raise


def _new_weights(
    model: EditableModel,
    key_rows: Sequence[Sequence[Row]],
    targets: torch.Tensor,
    factors: Mapping[int, torch.Tensor],
    settings: SpreadSettings,
    token_budget: int,
    on_layer: Callable[[int, float, float], None],
) -> Iterator[tuple[int, torch.Tensor]]:
    """Each layer with its new matrix, which has to be in the model when the next one is asked."""
    first, last = settings.layers[0], settings.layers[-1]
    m, n_contexts = len(key_rows), len(key_rows[0])
    contexts = KeyRows(model, [row for rows in key_rows for row in rows], token_budget, first)
    bare = KeyRows(model, [rows[0] for rows in key_rows], token_budget, first)
    for i, layer in enumerate(settings.layers):
        keys = contexts.keys(layer).double().view(m, n_contexts, -1)
        key = keys[:, 0] if n_contexts == 1 else (keys[:, 0] + keys[:, 1:].mean(dim=1)) / 2
        residual = (
            targets.to(model.device).double() - bare.values(last, settings.residual_site).double()
        )
        check_finite(key, f"layer {layer}: the key")
        check_finite(residual, f"layer {layer}: the residual")
        try:
            update = least_squares_update(
                torch.as_tensor(factors[layer], device=model.device),
                key.T,
                residual.T / settings.share(i),
                settings.covariance_weight,
            )
        except torch.linalg.LinAlgError as error:
            raise NotFinite(f"layer {layer}: the update cannot be solved for ({error})") from error
        old = model.down_weight(layer)
        new = new_weight(old, update, layer)
        on_layer(layer, float(residual.norm(dim=1).mean()), float(update.norm() / old.norm()))
        yield layer, new
        if layer != last:
            following = settings.layers[i + 1]
            contexts.advance(following)
            bare.advance(following)
