"""Token rows that share beginnings, run as one tree: each distinct prefix is computed once.

What a causal model computes at a token depends only on the tokens before it. The rows of an edit
share a lot of those: every request comes in the same contexts, neighbors share a template, two
objects share a prompt. So rows are merged into a tree whose nodes are the distinct prefixes. The
nodes are laid out as one sequence in which a node sees its ancestors and itself, at the position
of its depth.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import torch

from modeledit.lm.attention import KeyValues
from modeledit.lm.batching import in_batches
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import Row

RANKED = 32  # labels ranked at once: each takes a copy of a whole vocabulary
# What a forward and backward pass costs whatever its rows, as so many tokens: weights are read and
# kernels called (measured on two cores; of an H100 an estimate, from 512 and 2048 tokens at once).
RUN_TOKENS = {"cpu": 50, "cuda": 1000}


class Tree:
    """The distinct prefixes of some token rows.

    `ids` and `positions` are (1, nodes), `sees` (nodes, nodes) says which nodes a node sees;
    `paths[r]` lists the nodes of row r from its first token to its last, on the host: what reads
    tensors at nodes of many rows moves their numbers to the device at once. `offsets` are the
    positions of the rows' first tokens where they are not 0; only rows of one offset share nodes.
    Raises ModelError for a row that the model cannot read.
    """

    def __init__(
        self,
        model: EditableModel,
        rows: Sequence[Sequence[int]],
        offsets: Sequence[int] | None = None,
    ):
        nodes: dict[tuple[int, int, int], int] = {}  # (offset, parent, token) -> node
        parents: list[int] = []
        tokens: list[int] = []
        depths: list[int] = []
        paths = []
        for row, offset in zip(rows, offsets or [0] * len(rows), strict=True):
            node, path = -1, []
            for depth, token in enumerate(row, start=offset):
                following = nodes.get((offset, node, token))
                if following is None:
                    following = nodes[offset, node, token] = len(tokens)
                    parents.append(node)
                    tokens.append(token)
                    depths.append(depth)
                node = following
                path.append(node)
            paths.append(path)
        model.check_tokens(tokens, max(depths, default=-1) + 1)
        sees = np.eye(len(tokens), dtype=bool)
        for node, parent in enumerate(parents):
            if parent >= 0:
                sees[node] |= sees[parent]  # a parent comes before its children
        device = model.device
        self.ids = torch.tensor([tokens], device=device)
        self.positions = torch.tensor([depths], device=device)
        self.sees = torch.from_numpy(sees).to(device)
        self.dtype = model.dtype
        self.paths = paths

    @property
    def mask(self) -> torch.Tensor:
        """The additive mask, (1, 1, nodes, nodes).

        It is made anew whenever it is asked for: kept, those of many trees would take as much
        memory as the hidden states of their nodes, of which `tree_size` allows the model's width.
        """
        return additive_mask(self.sees, self.dtype)[None, None]

    def at(self, tensor: torch.Tensor, where: Sequence[int]) -> torch.Tensor:
        """(rows, width) values of a tensor at token `where[r]` of each row.

        The tensor is (1, nodes, width), or (nodes, width) as in the MLPs of OPT.
        """
        nodes = [path[i] for path, i in zip(self.paths, where, strict=True)]
        return tensor.flatten(0, -2)[torch.tensor(nodes, device=tensor.device)]

    def ends(self, hidden: torch.Tensor, starts: Sequence[int], width: int) -> torch.Tensor:
        """(rows, width, d) values of `hidden` (1, nodes, d) from token `starts[r]` of each row on.

        What is behind a row's last token is 0.
        """
        ends = [path[start:] for path, start in zip(self.paths, starts, strict=True)]
        nodes = [[*end, *[-1] * (width - len(end))] for end in ends]
        columns = torch.tensor(nodes, device=hidden.device)
        return hidden[0, columns].masked_fill_((columns < 0)[:, :, None], 0.0)


def additive_mask(sees: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where a query sees a key, the most negative number where it does not."""
    return torch.zeros(sees.shape, dtype=dtype, device=sees.device).masked_fill_(
        ~sees, torch.finfo(dtype).min
    )


def run_tree(
    model: EditableModel, tree: Tree, start: int, stop: int, hidden: torch.Tensor | None = None
) -> torch.Tensor:
    """Run blocks start..stop-1 on all nodes; `hidden` (1, nodes, d) defaults to the embeddings."""
    if hidden is None:
        hidden = model.embed(tree.ids, tree.positions)
    return model.run(hidden, start, stop, tree.positions, tree.mask)


def tree_size(model: EditableModel, budget: int) -> int:
    """Nodes that a tree may have under a token budget.

    Attention among n nodes of width d costs n / (6 d) of what the rest of a block costs, and most
    of it is masked away, so a tree has no more nodes than the model's width.
    """
    return min(budget, model.embedding.weight.shape[1])


def tree_groups(
    rows: Sequence[Sequence[int]], budget: int, offsets: Sequence[int] | None = None
) -> Iterator[list[int]]:
    """Index lists of rows whose tree has at most `budget` nodes (or that are a single row).

    Rows are taken in the order of their offsets and tokens, so that those which share a beginning
    meet.
    """
    offsets = offsets or [0] * len(rows)
    group: list[int] = []
    nodes = 0
    for i in sorted(range(len(rows)), key=lambda i: (offsets[i], rows[i])):
        row, shared = rows[i], 0
        if group and offsets[group[-1]] == offsets[i]:
            last = rows[group[-1]]
            shared = next(
                (n for n, (a, b) in enumerate(zip(row, last, strict=False)) if a != b),
                min(len(row), len(last)),
            )
        if group and nodes + len(row) - shared > budget:
            yield group
            group, nodes, shared = [], 0, 0
        group.append(i)
        nodes += len(row) - shared
    if group:
        yield group


class Below:
    """Rows with their hidden states in front of the block that is next."""

    def __init__(
        self, model: EditableModel, rows: Sequence[Sequence[int]], budget: int, layer: int
    ):
        self.model = model
        self.layer = layer
        self.groups: list[list[int]] = []
        self.trees: list[Tree] = []
        self.hidden: list[torch.Tensor] = []

        def split(some: Sequence[int], limit: int) -> Iterator[list[int]]:
            for group in tree_groups([rows[i] for i in some], tree_size(model, limit)):
                yield [some[g] for g in group]

        def run(group: list[int]) -> tuple[Tree, torch.Tensor]:
            tree = Tree(model, [rows[i] for i in group])
            return tree, run_tree(model, tree, 0, layer)

        def spoiled(result: tuple[Tree, torch.Tensor]) -> bool:
            return bool(result[1].isnan().any())

        for group, (tree, hidden) in in_batches(range(len(rows)), split, run, budget, spoiled):
            self.groups.append(group)
            self.trees.append(tree)
            self.hidden.append(hidden)

    @cached_property
    def places(self) -> dict[int, tuple[int, list[int]]]:
        """Where each row is: the number of its tree, and its nodes there."""
        return {
            row: (number, path)
            for number, (group, own) in enumerate(zip(self.groups, self.trees, strict=True))
            for row, path in zip(group, own.paths, strict=True)
        }

    def hidden_of(self, rows: Sequence[int], tree: Tree) -> torch.Tensor:
        """The states of some rows at the nodes of a tree of just those rows, (1, nodes, d)."""
        device = self.model.device
        hidden = self.hidden[0].new_empty(1, tree.ids.shape[1], self.hidden[0].shape[-1])
        for row, path in zip(rows, tree.paths, strict=True):
            number, held = self.places[row]
            from_, to = torch.tensor([held, path], device=device)
            hidden[0, to] = self.hidden[number][0, from_]
        return hidden

    def advance(self, to: int) -> None:
        """Move the hidden states to the front of block `to`."""
        for i, tree in enumerate(self.trees):
            self.hidden[i] = run_tree(self.model, tree, self.layer, to, self.hidden[i])
        self.layer = to


def pack(
    widths: Sequence[int], counts: Sequence[int], budget: int, run_tokens: int = 0
) -> Iterator[list[int]]:
    """Group items that are run as padded rows of equal width, as cheaply as can be.

    Item i has `counts[i]` rows of `widths[i]` tokens. A group costs its padded tokens, and
    `run_tokens` whatever is in it; it stays within `budget` padded tokens unless it is one item.
    Yields index lists, narrow items first.
    """
    order = sorted(range(len(widths)), key=lambda i: (widths[i], i))
    # least[n]: what the n narrowest cost; first[n]: where the last of their groups begins
    least: list[float] = [0.0]
    first = [0]
    for n, last in enumerate(order, start=1):
        rows, best = 0, (math.inf, n)
        for start in range(n - 1, -1, -1):
            rows += counts[order[start]]
            padded = rows * widths[last]
            if padded > budget and start < n - 1:
                break
            cost = least[start] + run_tokens + padded
            if cost < best[0]:
                best = cost, start
        least.append(best[0])
        first.append(best[1])
    groups, end = [], len(order)
    while end:
        groups.append(order[first[end] : end])
        end = first[end]
    yield from reversed(groups)


class LabelOutputs(NamedTuple):
    """What the model says where one row has its labels; all on the CPU."""

    log_p: torch.Tensor  # (labels,) log-probability of each label
    argmax: torch.Tensor  # (labels,) the most likely id there
    ranks: torch.Tensor  # (labels,) from 1: how many ids are at least as likely
    top_ids: torch.Tensor  # (top,) the most likely ids at the first label, the likeliest first
    top_log_p: torch.Tensor  # (top,)


@torch.no_grad()
def label_outputs(
    model: EditableModel, rows: Sequence[Row], budget: int, top: int = 0
) -> list[LabelOutputs]:
    """Forward only: for each row what the model says at its labels.

    The head runs once on each node that predicts a label. With `top` = 0 ranks and the likeliest
    ids are left out (empty), which spares work. Of a row without labels everything is empty.
    """
    ids, values = torch.empty(0, dtype=torch.long), torch.empty(0)
    nothing = LabelOutputs(values, ids, ids, ids, values)
    results: list = [nothing] * len(rows)
    labelled = [i for i, row in enumerate(rows) if row.labels]

    def split(some: Sequence[int], limit: int) -> Iterator[list[int]]:
        ids, offsets = [rows[i].ids for i in some], [rows[i].offset for i in some]
        for group in tree_groups(ids, tree_size(model, limit), offsets):
            yield [some[g] for g in group]

    def run(group: list[int]) -> bool:
        """Fill in the results of a group; whether one of them is not a number."""
        chosen = [rows[g] for g in group]
        counts = [len(row.labels) for row in chosen]
        tree = Tree(model, [row.ids for row in chosen], [row.offset for row in chosen])
        hidden = run_tree(model, tree, 0, model.depth)[0]
        paths = zip(tree.paths, chosen, strict=True)
        where = [node for path, row in paths for node in path[row.first_label :]]
        nodes, index = torch.tensor(where, device=model.device).unique(return_inverse=True)
        log_p = model.log_probabilities(hidden[nodes])
        labels = torch.tensor([n for row in chosen for n in row.labels], device=model.device)
        at_labels = [log_p[index, labels], log_p.argmax(dim=-1)[index]]
        of_rows = []
        if top:
            first = [0, *accumulate(counts[:-1])]
            at_labels.append(_ranks(log_p, index, at_labels[0]))
            of_rows += _likeliest(log_p, index[torch.tensor(first, device=model.device)], top)
        # Copied once for the group: each copy waits for the device.
        values, *others = (part.cpu() for part in at_labels)
        per_row = [part.split(counts) for part in (values, *others)]
        per_row += [part.cpu().unbind() for part in of_rows]
        if not top:
            per_row += [[empty] * len(group) for empty in nothing[2:]]
        for g, *outputs in zip(group, *per_row, strict=True):
            results[g] = LabelOutputs(*outputs)
        return bool(values.isnan().any())

    for _ in in_batches(labelled, split, run, budget, spoiled=bool):
        pass
    return results


def _ranks(log_p: torch.Tensor, nodes: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """How many ids of `log_p` (nodes, vocabulary) are at least as likely as each of `values`.

    A tie never flatters a label, and what is not a number ranks last.
    """
    parts = zip(nodes.split(RANKED), values.split(RANKED), strict=True)
    return torch.cat([(~(log_p[some] < own[:, None])).sum(dim=-1) for some, own in parts])


def _likeliest(log_p: torch.Tensor, nodes: torch.Tensor, top: int) -> list[torch.Tensor]:
    """The `top` likeliest ids at each of `nodes`, (nodes, top), and their log-probabilities."""
    distinct, index = nodes.unique(return_inverse=True)
    best_log_p, best = log_p[distinct].topk(top)
    return [best[index], best_log_p[index]]


class Prefixes(NamedTuple):
    """What rows have in front of their subjects: none of it changes while an edit is sought."""

    layers: dict[int, tuple[torch.Tensor, torch.Tensor]]  # (rows, heads, width, head width) each
    seen: torch.Tensor  # (rows, width) bool: which of the columns a row sees
    outputs: torch.Tensor  # (nodes, d) last-block outputs of the distinct prefix tokens
    columns: torch.Tensor  # (rows, width): the node of each column

    def at(self, row: int, position: int) -> torch.Tensor:
        """Output of the last block, (d,), at one position of one row."""
        return self.outputs[self.columns[row, position]]


@torch.no_grad()
def run_prefixes(
    model: EditableModel,
    tree: Tree,
    hidden: torch.Tensor,
    start: int,
    lengths: Sequence[int],
    width: int,
) -> Prefixes:
    """Run blocks start.. on the first `lengths[r]` tokens of each row, once for all steps.

    `hidden` (1, nodes, d) is the input of block `start`; `width` >= 1 is the number of columns.
    """
    device = model.device
    prefixes = [path[:n] for path, n in zip(tree.paths, lengths, strict=True)]
    flat = [node for path in prefixes for node in path]
    nodes, index = torch.tensor(flat, dtype=torch.long, device=device).unique(return_inverse=True)
    columns = torch.zeros(len(prefixes), width, dtype=torch.long, device=device)
    seen = torch.arange(width, device=device) < torch.tensor(lengths, device=device)[:, None]
    columns[seen] = index
    if len(nodes) == 0:  # every row begins with its subject: columns that nobody sees
        nodes = torch.zeros(1, dtype=torch.long, device=device)
    cache = KeyValues()
    mask = additive_mask(tree.sees[nodes][:, nodes], model.dtype)[None, None]
    positions = tree.positions[:, nodes]
    outputs = model.run(hidden[:, nodes], start, model.depth, positions, mask, cache)[0]
    layers = {
        layer: (keys[0][:, columns].transpose(0, 1), values[0][:, columns].transpose(0, 1))
        for layer, (keys, values) in cache.layers.items()
    }
    return Prefixes(layers, seen, outputs, columns)
