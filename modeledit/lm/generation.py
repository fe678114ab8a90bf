"""Greedy continuations of many prompts at once, with what the prompts share computed once.

Prompts become a tree of their distinct prefixes; from then on every row is one token a step, whose
key and value join those before it. The numbers are those of the whole model on the whole text, to
rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from modeledit.lm.attention import KeyValues
from modeledit.lm.batching import in_batches
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import decode
from modeledit.lm.trees import Tree, additive_mask, run_prefixes, run_tree, tree_size

FEWEST_LEFT = 0.75  # of a batch's rows; with fewer still speaking, the others leave it


@dataclass(frozen=True)
class Continuation:
    """What a model says after a prompt.

    `ids` include the one that ended it; `text` is the line before that end. `ended` is "stop" (end
    of text, or of the line) or "length".
    """

    ids: tuple[int, ...]
    text: str
    ended: Literal["stop", "length"]


class _Grown(KeyValues):
    """Keys and values of rows that grow by a token a step: a row's column is its position."""

    def __init__(self, layers: dict[int, tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__({i: (k.contiguous(), v.contiguous()) for i, (k, v) in layers.items()})
        self.at = torch.empty(0, dtype=torch.long)

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *more: object, **named: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens' own are kept for the next step; this one's mask hides them in their place."""
        found = super().update(keys, values, layer, *more, **named)
        rows = torch.arange(len(keys), device=keys.device)
        for held, new in zip(self.layers[layer], (keys, values), strict=True):
            held[rows, :, self.at] = new[:, :, 0]
        return found

    def of(self, rows: torch.Tensor) -> "_Grown":
        """Those of some rows."""
        return _Grown({i: (k[rows], v[rows]) for i, (k, v) in self.layers.items()})


class _Speech(NamedTuple):
    """Of one row of a batch what was said."""

    ids: list[int]
    ended: bool


class Speaker:
    """Continues prompts: `most` tokens at most, to the end of the text or of the line."""

    def __init__(
        self, model: EditableModel, tokenizer: PreTrainedTokenizerBase, most: int, budget: int
    ) -> None:
        self.model, self.tokenizer, self.most, self.budget = model, tokenizer, most, budget
        self.ends = _end_ids(model, tokenizer)
        self.spelled = cache(lambda token: decode(tokenizer, [token]))

    def continuations(
        self,
        prompts: Sequence[Sequence[int]],
        done: Callable[[int], object] = lambda count: None,
    ) -> list[Continuation]:
        """The greedy continuation of each prompt, which has one token id or more.

        Equal prompts are continued once; `done` is told how many were, time after time. Raises
        ModelError for a prompt that leaves no room for `most` more tokens.
        """
        distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
        longest = max(map(len, distinct), default=0)
        every = (token for prompt in distinct for token in prompt)
        self.model.check_tokens(every, longest + self.most)
        said: dict[tuple[int, ...], Continuation] = {}

        def split(some: Sequence[int], limit: int) -> Iterator[list[int]]:
            return self._groups(distinct, some, limit)

        def run(group: list[int]) -> list[Continuation]:
            return self._speak([distinct[i] for i in group])

        for group, found in in_batches(range(len(distinct)), split, run, self.budget):
            said |= {distinct[i]: one for i, one in zip(group, found, strict=True)}
            done(len(group))
        return [said[tuple(prompt)] for prompt in prompts]

    def _groups(
        self, prompts: Sequence[tuple[int, ...]], some: Sequence[int], budget: int
    ) -> Iterator[list[int]]:
        """Prompts of about one length, whose rows hold at most `budget` tokens in the end.

        They are a tree too, which has its own limit.
        """
        group: list[int] = []
        for i in sorted(some, key=lambda i: (len(prompts[i]), prompts[i])):
            rows, length = len(group) + 1, len(prompts[i])
            fits = rows * (length + self.most) <= budget
            if group and not (fits and rows * length <= tree_size(self.model, budget)):
                yield group
                group = []
            group.append(i)
        if group:
            yield group

    @torch.no_grad()
    def _speak(self, prompts: Sequence[tuple[int, ...]]) -> list[Continuation]:
        model, device = self.model, self.model.device
        lengths = [len(prompt) for prompt in prompts]
        tree = Tree(model, prompts)
        hidden = run_tree(model, tree, 0, 0)
        prefixes = run_prefixes(model, tree, hidden, 0, lengths, max(lengths) + self.most)
        past = _Grown(prefixes.layers)
        ends = torch.tensor([length - 1 for length in lengths], device=device)
        columns = prefixes.columns.gather(1, ends[:, None])[:, 0]
        states = prefixes.outputs[columns]
        speeches = [_Speech([], False) for _ in prompts]
        rows = list(range(len(prompts)))  # those that speak on
        positions = torch.tensor(lengths, device=device)
        places = torch.arange(prefixes.seen.shape[1], device=device)
        for step in range(self.most):
            tokens = model.log_probabilities(states).argmax(dim=-1)
            for row, token in zip(rows, tokens.tolist(), strict=True):
                if not speeches[row].ended:
                    speeches[row].ids.append(token)
                    speeches[row] = speeches[row]._replace(ended=self._ends(token))
            left = [i for i, row in enumerate(rows) if not speeches[row].ended]
            if not left or step == self.most - 1:
                break
            if len(left) < FEWEST_LEFT * len(rows):
                chosen = torch.tensor(left, device=device)
                rows = [rows[i] for i in left]
                past, tokens, positions = past.of(chosen), tokens[chosen], positions[chosen]
            past.at = positions
            seen = torch.cat(
                [places < positions[:, None], positions.new_ones(len(rows), 1).bool()], dim=1
            )
            mask = additive_mask(seen, model.dtype)[:, None, None]
            at = positions[:, None]
            embedded = model.embed(tokens[:, None], at)
            states = model.run(embedded, 0, model.depth, at, mask, past)[:, 0]
            positions = positions + 1
        return [
            self._continuation(prompt, speech)
            for prompt, speech in zip(prompts, speeches, strict=True)
        ]

    def _ends(self, token: int) -> bool:
        return token in self.ends or "\n" in self.spelled(token)

    def _continuation(self, prompt: tuple[int, ...], speech: _Speech) -> Continuation:
        spoken = [token for token in speech.ids if token not in self.ends]
        before = decode(self.tokenizer, list(prompt))
        whole = decode(self.tokenizer, [*prompt, *spoken])
        # A tokenizer may spell a text's first token otherwise than the same token within it.
        whole_fits = whole.startswith(before)
        text = whole[len(before) :] if whole_fits else decode(self.tokenizer, spoken)
        ended: Literal["stop", "length"] = "stop" if speech.ended else "length"
        return Continuation(tuple(speech.ids), text.split("\n", 1)[0], ended)


def _end_ids(model: EditableModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """What ends a text: as the tokenizer, the model's config and its generation settings say."""
    said = [tokenizer.eos_token_id, getattr(model.model.config, "eos_token_id", None)]
    said.append(getattr(getattr(model.model, "generation_config", None), "eos_token_id", None))
    every = (one if isinstance(one, list | tuple) else [one] for one in said)
    return frozenset(token for some in every for token in some if token is not None)
