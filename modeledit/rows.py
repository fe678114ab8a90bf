"""Token rows as padded tensors, and packing many of them under a token budget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from modeledit.models import EditableModel, KeyValues, causal_mask
from modeledit.prompts import Row


@dataclass
class Batch:
    """Right-padded rows: ids, positions (rows, tokens), lengths (rows,), additive mask."""

    ids: torch.Tensor
    positions: torch.Tensor
    lengths: torch.Tensor
    mask: torch.Tensor


def pad(model: EditableModel, rows: Sequence[Sequence[int]]) -> Batch:
    """Right-pad token rows; padding never changes what a real position sees."""
    lengths = torch.tensor([len(r) for r in rows], device=model.device)
    width = int(lengths.max())
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    positions = torch.arange(width, device=model.device).expand(len(rows), width)
    return Batch(ids.to(model.device), positions, lengths, causal_mask(lengths, width, model.dtype))


def pack(widths: Sequence[int], counts: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Group items by similar width so that rows x widest row stays within `budget` tokens.

    Item i has `counts[i]` rows of `widths[i]` tokens. Yields index lists, narrow items first; an
    item that is over the budget on its own is a group on its own.
    """
    group: list[int] = []
    rows = 0
    for i in sorted(range(len(widths)), key=lambda i: (widths[i], i)):
        if group and (rows + counts[i]) * widths[i] > budget:
            yield group
            group, rows = [], 0
        group.append(i)
        rows += counts[i]
    if group:
        yield group


@torch.no_grad()
def label_log_probabilities(
    model: EditableModel, rows: Sequence[Row], budget: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Forward only: for each row its labels' log-probabilities and the argmax ids there.

    The head runs on label positions only. Rows with the same tokens run once, so that two
    single-token objects of one prompt share a row.
    """
    unique: dict[tuple[int, ...], list[int]] = {}
    for i, row in enumerate(rows):
        unique.setdefault(row.ids, []).append(i)
    texts = list(unique)
    results: list = [None] * len(rows)
    for group in pack([len(t) for t in texts], [1] * len(texts), budget):
        batch = pad(model, [texts[g] for g in group])
        hidden = model.embed(batch.ids, batch.positions)
        hidden = model.run(hidden, 0, model.depth, batch.positions, batch.mask)
        wanted = [(j, i) for j, g in enumerate(group) for i in unique[texts[g]]]
        first = {g: min(rows[i].first_label for i in unique[texts[g]]) for g in group}
        spans = [(j, p) for j, g in enumerate(group) for p in range(first[g], len(texts[g]))]
        where = torch.tensor(spans, device=model.device)
        log_p = model.log_probabilities(hidden[where[:, 0], where[:, 1]])
        argmax = log_p.argmax(dim=-1).cpu()
        ends = torch.tensor([len(texts[g]) - first[g] for g in group]).cumsum(0).tolist()
        for j, i in wanted:
            n = len(rows[i].labels)
            span = slice(ends[j] - n, ends[j])
            labels = torch.tensor(rows[i].labels, device=model.device)
            values = log_p[span].gather(1, labels[:, None])[:, 0]
            results[i] = (values.cpu(), argmax[span])
    return results


@torch.no_grad()
def run_prefix(
    model: EditableModel, hidden: torch.Tensor, batch: Batch, start: int, keep: torch.Tensor
) -> KeyValues:
    """Keys and values of blocks start.. for the first `keep[r]` tokens of each row.

    `hidden` is the input of block `start`. Those positions come before anything that an edit
    changes, so they are computed once (engine technique 1).
    """
    cache = KeyValues()
    width = max(int(keep.max()), 1)
    model.run(
        hidden[:, :width],
        start,
        model.depth,
        batch.positions[:, :width],
        batch.mask[:, :, :width, :width],
        cache,
    )
    cache.recording = False
    return cache
