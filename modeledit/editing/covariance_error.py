"""How far a covariance is from that of endlessly many texts, estimated while it is gathered.

C = sum(G_i) / sum(n_i) over texts i, with G_i = sum(k k^T) over the n_i keys of a text, is a ratio
of two means over texts drawn at random. The mean square of its error, as of any ratio estimator
(Cochran, Sampling Techniques, 3rd ed. 1977, chapter 6), is about

    t / (t - 1) * sum(|G_i - n_i C|^2) / (sum n_i)^2,    t texts, Frobenius norms.

Texts are its units, not tokens: the keys of a text resemble each other. Gathering until an error
that is estimated on the way is small enough ends, for small tolerances, as if it had been known
(Chow and Robbins, Annals of Mathematical Statistics 36, 1965); of few texts the estimate may be
small by luck, so some come first.

No second matrix is needed: |M|^2 is the mean of |M z|^2 over vectors z of random signs (Hutchinson,
Communications in Statistics 18, 1989), and M z of a text is cheap.
"""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np
import torch

SIGNS = 64
"""Vectors of random signs: they alone move an estimate by some percent."""
LEAST_TEXTS = 30
CHECK_EVERY = 10  # texts
_PARTS = ("numbers", "seen", "weighted")


@dataclass
class _Sums:
    """Of one layer, in float64: over texts with n keys, Y = G z for all vectors z.

    `numbers` are the texts, and the sums of n, n^2 and |Y|^2; `seen` is that of Y, `weighted` that
    of n Y.
    """

    numbers: torch.Tensor
    seen: torch.Tensor
    weighted: torch.Tensor

    def relative(self) -> float:
        texts, keys, squared_keys, squares = self.numbers.tolist()
        if texts < 2:
            return math.inf
        mean = self.seen / keys
        norm = float(mean.square().sum())
        apart = squares - 2 * float((self.weighted * mean).sum()) + squared_keys * norm
        return math.sqrt(max(apart, 0.0) * texts / (texts - 1) / norm) / keys


class ErrorEstimate:
    """The relative error of the covariances of all layers, from the keys of one text at a time."""

    def __init__(self) -> None:
        self._sums: dict[int, _Sums] = {}
        self._signs = torch.empty(0, 0)

    def add(self, layer: int, keys: torch.Tensor) -> None:
        """Take the keys (tokens, d_mlp) of a text into account."""
        signs = self._signs_for(keys)
        found, n = (keys.T @ (keys @ signs)).double(), len(keys)
        numbers = torch.tensor([1.0, n, n**2, 0.0], dtype=torch.float64, device=keys.device)
        numbers[3] = found.square().sum()
        if layer not in self._sums:
            self._sums[layer] = _Sums(numbers, found, n * found)
            return
        sums = self._sums[layer]
        sums.numbers += numbers
        sums.seen += found
        sums.weighted.add_(found, alpha=n)

    def _signs_for(self, keys: torch.Tensor) -> torch.Tensor:
        """The same vectors of signs for all texts, (d_mlp, SIGNS)."""
        if self._signs.shape[0] != keys.shape[1]:
            drawn = torch.Generator().manual_seed(0)
            signs = torch.randint(0, 2, (keys.shape[1], SIGNS), generator=drawn) * 2 - 1
            self._signs = signs.to(keys.device, keys.dtype)
        return self._signs

    def relative(self) -> float:
        """The error of C, root mean square in the Frobenius norm, as a share of C's; the largest
        of all layers. Infinite where fewer than two texts were seen."""
        return max((sums.relative() for sums in self._sums.values()), default=math.inf)

    def arrays(self) -> dict[str, np.ndarray]:
        """The sums by name, for a file."""
        return {
            _name(part, layer): tensor.cpu().numpy()
            for layer, sums in self._sums.items()
            for part, tensor in zip(_PARTS, astuple(sums), strict=True)
        }

    def restore(
        self, arrays: Mapping[str, np.ndarray], layers: list[int], device: torch.device
    ) -> None:
        """Go on from the sums that `arrays` gave."""
        for layer in layers:
            parts = (torch.from_numpy(arrays[_name(part, layer)]).to(device) for part in _PARTS)
            self._sums[layer] = _Sums(*parts)


def _name(part: str, layer: int) -> str:
    return f"error.{part}{layer}"
