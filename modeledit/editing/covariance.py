"""Uncentred second moments of the keys: C_l = sum(k k^T) / tokens (SPEC A.7).

Keys are the inputs of the down projection on the unedited model. All layers are gathered in one
pass that ends in front of the last one's down projection, and summed in float64.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from modeledit.io.refusal import Refusal
from modeledit.lm.hooks import leave_before, record
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import encode
from modeledit.lm.trees import additive_mask

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


def factorize(covariance: torch.Tensor, layer: int) -> Factor:
    """Cholesky factor of C_l in float64, with the smallest ridge that it takes.

    SPREAD solves with lambda C, so this one factor serves every lambda, method, trial and
    iteration. C in exact arithmetic is positive semidefinite; sums in float32, as ours within a
    text and the authors' are, leave it slightly indefinite where eigenvalues are tiny. Then the
    smallest of RIDGES with which the factorisation succeeds is added, and a warning says so. Raises
    CovarianceError, naming the layer, where C is no second moment, where the largest ridge does
    not do, or where the ridge would stand in for more than MOST_DEPENDENT of the rows, as when
    fewer different tokens than d_mlp were seen.
    """
    named, rows = f"the covariance of layer {layer}", len(covariance)
    if not torch.isfinite(covariance).all():
        raise CovarianceError(f"{named} has values that are not finite; {AGAIN}")
    largest = float(covariance.diagonal().max())
    apart = float((covariance - covariance.T).abs_().max())
    if apart > ASYMMETRY * largest:
        raise CovarianceError(
            f"{named} is not symmetric: entries that should be equal differ by {apart:.3g}, its "
            f"largest variance is {largest:.3g}; {AGAIN}"
        )
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


class KeySums:
    """Sums of k k^T over texts, in float64 on the model's device, and how much they are of.

    `totals` has a (d_mlp, d_mlp) sum for each of `layers` once a text was added.
    """

    def __init__(self, layers: Sequence[int]) -> None:
        self.layers = sorted(layers)
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
        model.check_tokens(row, len(row))
        ids = torch.tensor([row], device=model.device)
        positions = torch.arange(len(row), device=model.device)[None]
        sees = torch.ones(len(row), len(row), dtype=torch.bool, device=model.device).tril()
        mask = additive_mask(sees, model.dtype)[None, None]
        hidden = model.embed(ids, positions)
        start = 0
        for layer in self.layers:
            down = model.part(layer, "down")
            last = layer == self.layers[-1]
            # Nothing needs the last layer's output: leave in front of its down projection.
            with leave_before(down) if last else record(down, "input") as keys:
                hidden = model.run(hidden, start, layer + 1, positions, mask)
            start = layer + 1
            x = keys[0].flatten(0, -2)
            # One text's product in the model's precision, the sum over texts in float64.
            gram = (x.T @ x).double()
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
