"""Uncentred second moments of the keys: C_l = sum(k k^T) / tokens (SPEC A.7).

Keys are the inputs of the down projection on the unedited model. All layers are gathered in one
pass that ends in front of the last one's down projection, and summed in float64.
"""

from collections.abc import Callable, Sequence

import torch

from modeledit.hooks import leave_before, record
from modeledit.models import EditableModel
from modeledit.prompts import encode
from modeledit.rows import additive_mask


class CovarianceError(ValueError):
    """Statistics that do not fit the model or cannot be inverted."""


def factorize(covariance: torch.Tensor, layer: int) -> torch.Tensor:
    """Cholesky factor of C_l in float64, lower triangular, (d_mlp, d_mlp).

    SPREAD solves with lambda C, so this one factor serves every lambda, method, trial and
    iteration. Raises CovarianceError when C is not positive definite, as happens when it has seen
    fewer different tokens than d_mlp.
    """
    try:
        return torch.linalg.cholesky(covariance.double())
    except torch.linalg.LinAlgError as error:
        raise CovarianceError(
            f"the covariance of layer {layer} is not positive definite: gather it from more, and "
            f"more varied, tokens; the key has {len(covariance)} rows"
        ) from error


@torch.no_grad()
def second_moments(
    model: EditableModel,
    tokenizer,
    texts: Sequence[str],
    layers: Sequence[int],
    max_length: int,
    on_text: Callable[[int], object] = lambda texts: None,
) -> tuple[dict[int, torch.Tensor], int]:
    """C_l (d_mlp, d_mlp) float64 on the CPU for each of `layers`, and the number of tokens seen.

    Each text is cut to its first `max_length` tokens. `on_text(1)` reports progress.
    """
    rows = [ids[:max_length] for text in texts if (ids := encode(tokenizer, text))]
    if not rows:
        raise CovarianceError("no text to gather second moments from")
    for layer in layers:
        model.part(layer, "down")  # a layer that does not exist is refused before any work
    last = max(layers)
    sums: dict[int, torch.Tensor] = {}
    for row in rows:
        ids = torch.tensor([row], device=model.device)
        positions = torch.arange(len(row), device=model.device)[None]
        sees = torch.ones(len(row), len(row), dtype=torch.bool, device=model.device).tril()
        mask = additive_mask(sees, model.dtype)[None, None]
        hidden = model.embed(ids, positions)
        start = 0
        for layer in sorted(layers):
            down = model.part(layer, "down")
            # Nothing needs the last layer's output: leave in front of its down projection.
            with leave_before(down) if layer == last else record(down, "input") as keys:
                hidden = model.run(hidden, start, layer + 1, positions, mask)
            start = layer + 1
            x = keys[0][0]
            # One text's product in the model's precision, the sum over texts in float64.
            gram = (x.T @ x).double()
            sums[layer] = gram if layer not in sums else sums[layer].add_(gram)
        on_text(1)
    tokens = sum(len(r) for r in rows)
    return {layer: (total / tokens).cpu() for layer, total in sums.items()}, tokens
