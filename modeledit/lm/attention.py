"""Attention of a few tokens to a prefix that stays the same, and to each other.

A step of OPTIMIZATION runs rows of a handful of tokens behind prefixes that no delta reaches (SPEC
A.6). A general kernel repeats keys and values for all queries that share them, joins the prefix to
the rest at every step, and goes back through both. Here queries that share keys are rows of one
product, the prefix stays where it is, and nothing goes back into it: the same numbers to rounding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

import torch
from torch import nn
from transformers import AttentionInterface, PretrainedConfig


class KeyValues:
    """Keys and values of a fixed prefix, in the shape of a transformers cache.

    Made empty it keeps each attention layer's keys and values; made with `layers` it puts those in
    front of each call's own and keeps nothing: the prefix never grows.
    """

    def __init__(self, layers: dict[int, tuple[torch.Tensor, torch.Tensor]] | None = None) -> None:
        self.recording = layers is None
        self.layers = layers or {}

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by the attention module; tensors are (rows, heads, tokens, head width)."""
        if self.recording:
            self.layers[layer] = (keys, values)
        if self.recording or _PREFIX.get() is self:
            return keys, values
        past_keys, past_values = self.layers[layer]
        return torch.cat([past_keys, keys], dim=2), torch.cat([past_values, values], dim=2)

    def select(self, rows: torch.Tensor) -> "KeyValues":
        """The same prefix for a subset of the rows."""
        return KeyValues({i: (k[rows], v[rows]) for i, (k, v) in self.layers.items()})


_PREFIX: ContextVar[KeyValues | None] = ContextVar("prefix", default=None)
_NAME = "modeledit_to_prefix"


@contextmanager
def apart_from(prefix: KeyValues, config: PretrainedConfig) -> Iterator[None]:
    """Have the attention modules of a model with this `config` use `attend_to_prefix`."""
    usual, token = config._attn_implementation, _PREFIX.set(prefix)
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = usual
        _PREFIX.reset(token)


def attend_to_prefix(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float,
    softcap: float | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers: the output (rows, tokens, heads, width), no weights.

    `query` is (rows, heads, tokens, width); `key` and `value` are the tokens' own, with perhaps
    fewer heads, each for as many neighboring heads of the queries. The additive `attention_mask`,
    (rows, 1, tokens, keys), has the prefix's keys first.
    """
    prefix = _PREFIX.get()
    if prefix is None:
        raise RuntimeError("attend_to_prefix is for the time of `apart_from` alone")
    rows, heads, tokens, width = query.shape
    shared = key.shape[1]
    past_key, past_value = prefix.layers[cast(int, module.layer_idx)]
    past = past_key.shape[2]

    def flat(values: torch.Tensor) -> torch.Tensor:
        return values.reshape(rows * shared, -1, width)

    asked = flat(query * scaling)
    logits = torch.cat([asked @ flat(past_key).mT, asked @ flat(key).mT], dim=2)
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logits = logits.view(rows, heads, tokens, -1) + attention_mask
    weights = logits.softmax(dim=-1).to(value.dtype).view(rows * shared, -1, past + tokens)
    out = weights[..., :past] @ flat(past_value) + weights[..., past:] @ flat(value)
    return out.view(rows, heads, tokens, width).transpose(1, 2), None


AttentionInterface.register(_NAME, attend_to_prefix)
