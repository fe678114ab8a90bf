"""How far an edited model's next-token distributions have moved, on texts that no edit is about."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import Row
from modeledit.lm.trees import Below

POSITIONS = 128  # whose distributions are held at once: each takes a whole vocabulary, four times


@dataclass(frozen=True)
class TextDrift:
    """Of one text, means over its `tokens` predicted positions, in nats.

    `kl` is KL(p_unedited || p_edited) over the whole vocabulary, `nll` and `nll_unedited` are
    -log p of the token that follows.
    """

    tokens: int
    kl: float
    nll: float
    nll_unedited: float


@torch.no_grad()
def outputs(model: EditableModel, rows: Sequence[Row], budget: int) -> list[torch.Tensor]:
    """Last-block outputs, (tokens, d) of each row, as the model is now."""
    below = Below(model, [row.ids for row in rows], budget, model.depth)
    places = (below.places[i] for i in range(len(rows)))
    return [below.hidden[number][0, path] for number, path in places]


@torch.no_grad()
def drift(
    model: EditableModel,
    rows: Sequence[Row],
    unedited: Sequence[torch.Tensor],
    edited: Sequence[torch.Tensor],
) -> list[TextDrift]:
    """The drift of each row (labels: the ids that follow each token) from both `outputs`.

    An edit leaves the last norm and the head as they were, so one model serves for both.
    """
    found = []
    for row, before, after in zip(rows, unedited, edited, strict=True):
        labels = torch.tensor(row.labels, device=before.device)
        sums = torch.zeros(3, dtype=torch.float64)
        for start in range(0, len(labels), POSITIONS):
            part = slice(start, start + POSITIONS)
            old = model.log_probabilities(before[part]).double()
            new = model.log_probabilities(after[part]).double()
            said = labels[part, None]
            # Where the unedited model gives no probability, p (log p - log q) is 0.
            kl = torch.where(old.exp() > 0, old.exp() * (old - new), 0.0).sum()
            sums += torch.stack([kl, -new.gather(1, said).sum(), -old.gather(1, said).sum()]).cpu()
        found.append(TextDrift(len(labels), *(sums / len(labels)).tolist()))
    return found
