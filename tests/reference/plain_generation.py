"""Greedy generation and drift as plain loops: the whole model on the whole text, for every token.

It shares no code with the package. What ends a text: an end-of-text id of the tokenizer or of the
model, or a token with a line break in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@torch.no_grad()
def continue_prompt(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], most: int
) -> tuple[list[int], str]:
    """The ids that follow, the one that ends the text included, and "stop" or "length"."""
    ends = {tokenizer.eos_token_id}
    for more in (model.config.eos_token_id, model.generation_config.eos_token_id):
        ends |= set(more) if isinstance(more, list) else {more}
    said: list[int] = []
    for _ in range(most):
        logits = model(torch.tensor([[*prompt, *said]])).logits[0, -1]
        said.append(int(logits.argmax()))
        if said[-1] in ends or "\n" in tokenizer.decode([said[-1]]):
            return said, "stop"
    return said, "length"


@torch.no_grad()
def text_drift(
    unedited: PreTrainedModel, edited: PreTrainedModel, ids: Sequence[int]
) -> tuple[float, float, float]:
    """Means over the predicted tokens of a text: KL(p_unedited || p_edited), and -log p of both."""
    kl = nll = nll_unedited = 0.0
    for n in range(1, len(ids)):
        row = torch.tensor([ids[:n]])
        old = torch.log_softmax(unedited(row).logits[0, -1].double(), dim=-1)
        new = torch.log_softmax(edited(row).logits[0, -1].double(), dim=-1)
        kl += float((old.exp() * (old - new)).sum())
        nll -= float(new[ids[n]])
        nll_unedited -= float(old[ids[n]])
    count = len(ids) - 1
    return kl / count, nll / count, nll_unedited / count
