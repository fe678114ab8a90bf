"""SPREAD: write target states into the down projections (SPEC A.7; paper, section 2).

Functions that compute an update are kept apart from the one that applies it. All keys of a layer
are gathered in batches, and the hidden states in front of the layer being written are carried
along, so each block below the last edited one runs twice per row and nothing above it runs at all.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from modeledit.editing.writes import Write
from modeledit.lm.hooks import leave_before, record
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import Row
from modeledit.lm.trees import Below, Tree, run_tree

WIDENED = 64  # requests whose keys of all contexts are in float64 at once


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
    """Layers in ascending order, where the residual is read, and how it is shared out."""

    layers: tuple[int, ...]
    residual_site: str  # "block" (MEMIT) or "mlp" (PMET)
    sharing: str  # "linear": R/(L-i); "sqrt": R/sqrt(L-i)

    def share(self, i: int) -> float:
        """Divisor of the residual at the i-th layer; the last layer gets all of it."""
        left = len(self.layers) - i
        return left if self.sharing == "linear" else math.sqrt(left)


class KeyRows(Below):
    """Key rows of requests with the hidden states in front of the block that is next.

    A row ends at its subject's last token: nothing after it can change what is read there.
    """

    def __init__(self, model: EditableModel, rows: Sequence[Row], budget: int, layer: int):
        super().__init__(model, [row.ids[: row.subject + 1] for row in rows], budget, layer)

    def _gather(self, run: Callable[[Tree, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """(rows, width) values at each row's subject, in the rows' own order.

        `run` gives those of all nodes of a tree from its hidden states. Only what is at a subject
        is kept of them: a row has many more nodes.
        """
        found = torch.empty(0)
        n = sum(len(group) for group in self.groups)
        for group, tree, hidden in zip(self.groups, self.trees, self.hidden, strict=True):
            picked = tree.at(run(tree, hidden), [-1] * len(group))
            if not len(found):
                found = picked.new_empty(n, picked.shape[1])
            found[torch.tensor(group, device=found.device)] = picked
        return found

    def keys(self, layer: int) -> torch.Tensor:
        """Inputs of the down projection of `layer`, the next block, (rows, d_mlp)."""

        def run(tree: Tree, hidden: torch.Tensor) -> torch.Tensor:
            with leave_before(self.model.part(layer, "down")) as inputs:
                run_tree(self.model, tree, layer, layer + 1, hidden)
            return inputs[0]

        return self._gather(run)

    def values(self, last: int, site: str) -> torch.Tensor:
        """Current output at `site` of block `last`, (rows, d), the rows' hidden states unmoved."""

        def run(tree: Tree, hidden: torch.Tensor) -> torch.Tensor:
            with record(self.model.part(last, site), "output") as outputs:
                run_tree(self.model, tree, self.layer, last + 1, hidden)
            return outputs[0]

        return self._gather(run)


def mean_keys(keys: torch.Tensor, n_contexts: int) -> torch.Tensor:
    """A key for each request, (m, d_mlp) float64, from those of its rows, (m * n_contexts, d_mlp).

    Half the bare row's, which comes first, and half the mean of the prefixed ones (SPEC A.7, step
    1). A few requests at a time are widened to float64.
    """
    if n_contexts == 1:
        return keys.double()
    found = keys.new_empty(len(keys) // n_contexts, keys.shape[1], dtype=torch.float64)
    rows = keys.view(-1, n_contexts, keys.shape[1])
    for own, key in zip(rows.split(WIDENED), found.split(WIDENED), strict=True):
        wide = own.double()
        key.copy_((wide[:, 0] + wide[:, 1:].mean(dim=1)) / 2)
    return found


@dataclass
class Spread:
    """What SPREAD did: how far each request was from its target, and what keys were written.

    `residual_before` and `residual` are norms (m,), before and after; `keys[layer]` (m, d_mlp), on
    the CPU and in the model's type, are as `Write` keeps them for later edits.
    """

    residual_before: torch.Tensor
    residual: torch.Tensor
    keys: dict[int, torch.Tensor]


@torch.no_grad()
def spread(
    model: EditableModel,
    key_rows: Sequence[Sequence[Row]],
    targets: torch.Tensor,
    write: Write,
    settings: SpreadSettings,
    token_budget: int = 4096,
    on_layer: Callable[[int, float, float], None] = lambda layer, residual, update: None,
) -> Spread:
    """Write `targets` (m, d) into the model, layer by layer.

    `key_rows[i]` holds request i's rows, the bare context first; a key is half the bare row's and
    half the mean of the prefixed ones (SPEC A.7, step 1). `write` makes a layer's update of its
    keys and residuals. `on_layer(layer, mean residual norm, relative update norm)` reports
    progress. All layers are written or none: raises NotFinite, with the model as it was, when a
    target, key, residual or update is not finite.
    """
    check_finite(targets, "the target")
    written: list[tuple[int, torch.Tensor]] = []
    done = Spread(torch.empty(0), torch.empty(0), {})
    try:
        changes = _new_weights(
            model, key_rows, targets, write, settings, token_budget, on_layer, done
        )
        for layer, new in changes:
            written.append((layer, model.down_weight(layer).to("cpu", copy=True)))
            model.write_down_weight(layer, new)
    except NotFinite:
        for layer, old in written:
            model.write_down_weight(layer, old)
        raise
    return done


def _new_weights(
    model: EditableModel,
    key_rows: Sequence[Sequence[Row]],
    targets: torch.Tensor,
    write: Write,
    settings: SpreadSettings,
    token_budget: int,
    on_layer: Callable[[int, float, float], None],
    done: Spread,
) -> Iterator[tuple[int, torch.Tensor]]:
    """Each layer with its new matrix, which has to be in the model when the next one is asked."""
    first, last = settings.layers[0], settings.layers[-1]
    n_contexts = len(key_rows[0])
    contexts = KeyRows(model, [row for rows in key_rows for row in rows], token_budget, first)
    bare = KeyRows(model, [rows[0] for rows in key_rows], token_budget, first)
    wanted = targets.to(model.device).double()

    def missing() -> torch.Tensor:
        return wanted - bare.values(last, settings.residual_site).double()

    for i, layer in enumerate(settings.layers):
        key = mean_keys(contexts.keys(layer), n_contexts)
        residual = missing()
        check_finite(key, f"layer {layer}: the key")
        check_finite(residual, f"layer {layer}: the residual")
        try:
            update, kept = write(layer, key.T, residual.T / settings.share(i))
        except torch.linalg.LinAlgError as error:
            raise NotFinite(f"layer {layer}: the update cannot be solved for ({error})") from error
        if kept is not None:
            done.keys[layer] = kept.T.to("cpu", model.dtype).contiguous()
        if layer == first:
            done.residual_before = residual.norm(dim=1)
        old = model.down_weight(layer)
        new = new_weight(old, update, layer)
        on_layer(layer, float(residual.norm(dim=1).mean()), float(update.norm() / old.norm()))
        yield layer, new
        if layer != last:
            following = settings.layers[i + 1]
            contexts.advance(following)
            bare.advance(following)
    done.residual = missing().norm(dim=1)
