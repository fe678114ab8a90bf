"""The proof that the engine says of a prepared model what transformers says of it.

The engine builds masks, positions, prefixes and the head itself. So for every model that is
prepared, the log-probabilities of some texts are computed twice: by transformers, in batches of
unequal lengths, from the model as it was brought; and by the engine, from the folder as later jobs
read it, once as a tree of rows (how prompts are scored) and once in two parts, the second on the
kept keys and values of the first (how OPTIMIZATION runs).
"""

import math
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from modeledit.io.prepared import Agreement
from modeledit.lm.attention import KeyValues
from modeledit.lm.model import EditableModel, Limit, ModelError
from modeledit.lm.tokens import Row, encode
from modeledit.lm.trees import Tree, additive_mask, label_outputs, run_prefixes

TOLERANCE = 0.01
"""Largest difference of a log-probability. Rounding in float32 makes some 1e-5 to 1e-3, a mask or a
norm that is wrong whole units."""

TEXTS = (
    "The capital of France is Paris",
    "The capital of France is Rome, and that of Italy is not",
    "The capital of Peru",
    "Lima is a city in",
    "In 1969, 3 people went to the Moon: Neil Armstrong was the first to set foot on it.",
)
SENTENCE = "A river that comes from the mountains in the north flows through the old city. "
LONG = 160  # tokens of the longest probe
BATCH = 3  # texts that transformers gets at once


def probe_rows(tokenizer: PreTrainedTokenizerBase, limit: Limit | None = None) -> list[list[int]]:
    """Token ids of the probes, two or more each, none longer than the model can read."""
    longest = LONG if limit is None else min(LONG, limit.tokens)
    repeated = encode(tokenizer, SENTENCE * (LONG // 8))[:longest]
    rows = [encode(tokenizer, text)[:longest] for text in TEXTS] + [repeated]
    return [row for row in rows if len(row) > 1]


@torch.no_grad()
def by_transformers(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """log p of each row's tokens but the first, (tokens - 1,), by the model's own forward pass."""
    found = []
    for start in range(0, len(rows), BATCH):
        some = rows[start : start + BATCH]
        width = max(map(len, some))
        ids = torch.tensor([[*row, *[row[-1]] * (width - len(row))] for row in some])
        seen = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in some])
        logits = model(
            input_ids=ids.to(model.device), attention_mask=seen.to(model.device), use_cache=False
        ).logits
        for row, own in zip(some, logits, strict=True):
            log_p = torch.log_softmax(own[: len(row) - 1].float(), dim=-1).cpu()
            found.append(log_p.gather(1, torch.tensor(row[1:])[:, None])[:, 0])
    return found


def by_trees(model: EditableModel, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """The same as prompts are scored: all rows in trees that share beginnings."""
    labelled = [Row(tuple(row[:-1]), tuple(row[1:])) for row in rows]
    return [output.log_p for output in label_outputs(model, labelled, budget=4 * LONG)]


@torch.no_grad()
def in_parts(model: EditableModel, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """The same of the second half of each row, as OPTIMIZATION runs it: on the kept first half."""
    device = model.device
    firsts = [len(row) // 2 for row in rows]
    tree = Tree(model, rows)
    hidden = model.embed(tree.ids, tree.positions)
    prefixes = run_prefixes(model, tree, hidden, 0, firsts, max(firsts))
    width = max(len(row) - first for row, first in zip(rows, firsts, strict=True))
    rest = tree.ends(hidden, firsts, width)
    own = torch.ones(width, width, dtype=torch.bool, device=device).tril()
    before = prefixes.seen[:, None].expand(-1, width, -1)
    sees = torch.cat([before, own.expand(len(rows), -1, -1)], dim=2)
    positions = torch.tensor(firsts, device=device)[:, None] + torch.arange(width, device=device)
    mask = additive_mask(sees, model.dtype)[:, None]
    cache = KeyValues(prefixes.layers)
    outputs = model.run(rest, 0, model.depth, positions, mask, cache)
    found = []
    for row, first, output in zip(rows, firsts, outputs, strict=True):
        log_p = model.log_probabilities(output[: len(row) - first - 1])
        labels = torch.tensor(row[first + 1 :], device=device)
        found.append(log_p.gather(1, labels[:, None])[:, 0].cpu())
    return found


def compare(
    model: EditableModel, rows: Sequence[Sequence[int]], expected: Sequence[torch.Tensor]
) -> Agreement:
    """How far the engine is from the `expected` log-probabilities of `by_transformers`.

    Raises ModelError, naming the largest difference, where that is more than TOLERANCE or no
    number.
    """
    trees = torch.cat(by_trees(model, rows)) - torch.cat(list(expected))
    ends = [values[len(row) // 2 :] for row, values in zip(rows, expected, strict=True)]
    parts = torch.cat(in_parts(model, rows)) - torch.cat(ends)
    differences = torch.cat([trees, parts]).abs()
    largest = math.nan if differences.isnan().any() else float(differences.max())
    if not largest <= TOLERANCE:
        raise ModelError(
            f"the engine and transformers disagree about this {model.family} model: log p of a "
            f"token differs by up to {largest:.3g}, more than {TOLERANCE}; the model has something "
            "that modeledit/study/architectures.py does not describe"
        )
    return Agreement(len(trees), float(f"{largest:.1e}"))
