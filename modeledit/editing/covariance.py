"""Uncentred second moments of the keys: C_l = sum(k k^T) / tokens (SPEC A.7).

Keys are the inputs of the down projection on the unedited model. All layers are gathered in one
pass that ends in front of the last one's down projection, and summed in float64.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from transformers import PreTrainedTokenizerBase

from modeledit.editing.covariance_error import ErrorEstimate
from modeledit.editing.factors import CovarianceError
from modeledit.lm import products
from modeledit.lm.hooks import leave_before, record
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import encode
from modeledit.lm.trees import additive_mask


def keys_of(
    model: EditableModel, row: list[int], layers: Sequence[int]
) -> Iterator[tuple[int, torch.Tensor]]:
    """Each of `layers`, ascending, with its keys (tokens, d_mlp) of the token ids in `row`."""
    model.check_tokens(row, len(row))
    ids = torch.tensor([row], device=model.device)
    positions = torch.arange(len(row), device=model.device)[None]
    sees = torch.ones(len(row), len(row), dtype=torch.bool, device=model.device).tril()
    mask = additive_mask(sees, model.dtype)[None, None]
    hidden = model.embed(ids, positions)
    start = 0
    for layer in layers:
        down = model.part(layer, "down")
        # Nothing needs the last layer's output: leave in front of its down projection.
        with leave_before(down) if layer == layers[-1] else record(down, "input") as keys:
            hidden = model.run(hidden, start, layer + 1, positions, mask)
        start = layer + 1
        yield layer, keys[0].flatten(0, -2)


@torch.no_grad()
def mean_squares(
    model: EditableModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    layers: Sequence[int],
    max_length: int,
) -> dict[int, float]:
    """Mean of |k|^2 over tokens, at each of `layers`: about tr(C_l), at the cost of one pass.

    The texts are put one after another and cut to `max_length` tokens: what a first token has, far
    longer keys in some layers of many models, then weighs about as much as in an article.
    """
    row = encode(tokenizer, " ".join(texts))[:max_length]
    keys = keys_of(model, row, sorted(layers))
    return {layer: float(x.double().square().sum(-1).mean()) for layer, x in keys}


class KeySums:
    """Sums of k k^T over texts, in float64 on the model's device, and how much they are of.

    `totals` has a (d_mlp, d_mlp) sum for each of `layers` once a text was added. `error`, where one
    is given, sees the keys of all texts too.
    """

    def __init__(self, layers: Sequence[int], error: ErrorEstimate | None = None) -> None:
        self.layers = sorted(layers)
        self.error = error
        self.totals: dict[int, torch.Tensor] = {}
        self.texts = 0
        self.tokens = 0

    def add_texts(
        self,
        model: EditableModel,
        tokenizer: PreTrainedTokenizerBase,
        texts: Iterable[str],
        max_length: int,
        most_tokens: int | None = None,
    ) -> Iterator[int]:
        """Add the first `max_length` tokens of each text; yield the number of texts after each.

        With `most_tokens` the last text is cut there, and the rest is left.
        """
        for layer in self.layers:
            model.part(layer, "down")  # a layer that does not exist is refused before any work
        for text in texts:
            if most_tokens is not None and self.tokens >= most_tokens:
                return
            left = max_length if most_tokens is None else min(max_length, most_tokens - self.tokens)
            if ids := encode(tokenizer, text)[:left]:
                self._add(model, ids)
            self.texts += 1
            yield self.texts

    @torch.no_grad()
    def _add(self, model: EditableModel, row: list[int]) -> None:
        for layer, x in keys_of(model, row, self.layers):
            if self.error is not None:
                self.error.add(layer, x)
            # One text's product in the model's precision, the sum over texts in float64.
            gram = products.gram(x).double()
            total = self.totals.get(layer)
            self.totals[layer] = gram if total is None else total.add_(gram)
        self.tokens += len(row)

    def moments(self) -> dict[int, torch.Tensor]:
        """C_l (d_mlp, d_mlp) float64 on the CPU for each layer. Raises CovarianceError if empty."""
        if not self.tokens:
            raise CovarianceError("no text to gather second moments from")
        return {layer: (total / self.tokens).cpu() for layer, total in self.totals.items()}


def second_moments(
    model: EditableModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    layers: Sequence[int],
    max_length: int,
) -> tuple[dict[int, torch.Tensor], int]:
    """C_l (d_mlp, d_mlp) float64 on the CPU for each of `layers`, and the number of tokens seen.

    Each text is cut to its first `max_length` tokens.
    """
    sums = KeySums(layers)
    for _ in sums.add_texts(model, tokenizer, texts, max_length):
        pass
    return sums.moments(), sums.tokens
