"""Context templates that the unedited model samples, once for all iterations (SPEC A.3)."""

import unicodedata
from collections.abc import Sequence
from typing import Any, cast

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from modeledit.lm.tokens import encode

SEED_WORDS = ("The", "Therefore", "Because", "I", "You")  # SPEC A.3


def clean_context(text: str) -> str:
    """A generated prefix made safe as a template: `{prefix}. {}` (SPEC A.3)."""
    text = unicodedata.normalize("NFKD", text).replace("\n\n", " ").replace("<|endoftext|>", "")
    return text.replace("{", " ").replace("}", " ") + ". {}"


@torch.no_grad()
def generate_contexts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lengths: Sequence[tuple[int, int]],
    seed: int,
) -> list[str]:
    """Context templates: the bare `{}`, then sampled prefixes (SPEC A.3).

    `lengths` lists (total tokens, prefixes per seed word); MEMIT and PMET use ((10, 1),), ROME
    ((5, 2), (10, 2)). Sampling takes the top five tokens; end-of-text does not stop it. A seed word
    of as many tokens is taken as it is.
    """
    contexts = ["{}"]
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for total, per_word in lengths:
            for word in SEED_WORDS:
                ids = torch.tensor([encode(tokenizer, word)], device=model.device)
                rows = ids.repeat(per_word, 1)
                new = total - ids.shape[1]
                if new > 0:  # a word that is long enough itself stays as it is
                    rows = cast(Any, model).generate(  # of a mixin, untyped
                        rows,
                        attention_mask=torch.ones_like(rows),
                        do_sample=True,
                        top_k=5,
                        temperature=1.0,
                        top_p=1.0,
                        max_new_tokens=new,
                        min_new_tokens=new,
                        eos_token_id=None,
                        pad_token_id=tokenizer.eos_token_id,
                    )
                contexts += [clean_context(t) for t in tokenizer.batch_decode(rows, True)]
    return contexts
