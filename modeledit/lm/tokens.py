"""From texts to token rows: contexts, teacher forcing, and where the subject's last token is."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from transformers import PreTrainedTokenizerBase

from modeledit.data.requests import Request

SEED_WORDS = ("The", "Therefore", "Because", "I", "You")  # SPEC A.3


class PromptError(ValueError):
    """A prompt whose tokens do not allow what is asked of it."""


@dataclass(frozen=True)
class Row:
    """One teacher-forced row of tokens.

    `labels` are the targets of the last len(labels) positions; `subject` is the index of the
    subject's last token, or -1 where a row has none; `offset` is the position of the first token.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...] = ()
    subject: int = -1
    offset: int = 0

    @property
    def first_label(self) -> int:
        """Position that predicts the first label."""
        return len(self.ids) - len(self.labels)


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids with the model's own special tokens (BOS for Llama-2, none for GPT)."""
    return tokenizer(text, verbose=False)["input_ids"]


@dataclass(frozen=True)
class Tokenization:
    """How a target becomes labels (SPEC A.4; switch target_tokenization, I11-I13).

    "continuation": what encode(prompt + " " + target) has after the prompt's own ids. "legacy":
    encode(" " + target) alone, on the last positions of encode(prompt + decode(labels[:-1])), as in
    the code behind the published tables; there PMET adds the `space` on GPT models only, and MEMIT
    alone `drops` a BOS or unknown mark that comes first.
    """

    kind: str = "continuation"
    space: bool = True
    drops: bool = True


def target_row(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    target: str,
    subject: int = -1,
    tokenization: Tokenization = Tokenization(),
) -> Row:
    """Teacher-forced row for `target` after `prompt`."""
    if tokenization.kind == "legacy":
        text = " " + target if tokenization.space else target
        labels = tokenizer(text, add_special_tokens=False)["input_ids"]
        special = (tokenizer.bos_token_id, tokenizer.unk_token_id)
        if tokenization.drops and labels and labels[0] in special:
            labels = labels[1:]
        if not labels:
            raise PromptError(f"target '{target}' has no tokens of its own")
        return Row(
            tuple(encode(tokenizer, prompt + tokenizer.decode(labels[:-1]))), tuple(labels), subject
        )
    full, start = continuation(tokenizer, prompt, target)
    if start == 0 or start == len(full):
        raise PromptError(f"target '{target}' has no tokens of its own after prompt '{prompt}'")
    return Row(tuple(full[:-1]), tuple(full[start:]), subject)


def continuation(
    tokenizer: PreTrainedTokenizerBase, prompt: str, target: str
) -> tuple[list[int], int]:
    """Ids of prompt + " " + target, and where the target begins: len(ids) where it has no ids."""
    before, full = encode(tokenizer, prompt), encode(tokenizer, f"{prompt} {target}")
    start = min(len(before), len(full))
    # SentencePiece may merge across the border: the target then begins where the two part.
    while full[:start] != before[:start]:
        start -= 1
    return full, start


def subject_index(tokenizer: PreTrainedTokenizerBase, template: str, subject: str) -> int:
    """Index of the subject's last token in `template` with its single `{}` filled (SPEC A.5)."""
    if template.count("{}") != 1:
        raise PromptError(f"prompt '{template}' must hold exactly one {{}} for the subject")
    return len(encode(tokenizer, template[: template.index("{}")] + subject)) - 1


def subject_row(
    tokenizer: PreTrainedTokenizerBase,
    context: str,
    prompt: str,
    subject: str,
    target: str | None = None,
    tokenization: Tokenization = Tokenization(),
) -> Row:
    """Row for `prompt` (a template) inside `context`, with or without a target to predict.

    Without a target the row ends at the subject's last token: nothing after it can change what is
    read there.
    """
    template = context.replace("{}", prompt, 1)
    index = subject_index(tokenizer, template, subject)
    text = template.replace("{}", subject, 1)
    if target is None:
        return Row(tuple(encode(tokenizer, text)[: index + 1]), (), index)
    return target_row(tokenizer, text, target, index, tokenization)


@dataclass(frozen=True)
class Problem:
    """All rows of one request's OPTIMIZATION (SPEC A.6, D.1)."""

    edit_rows: tuple[Row, ...]
    kl_row: Row
    neighbor_rows: tuple[Row, ...] = ()
    neighbor_contexts: int = 1  # rows of each neighbor


def build_problem(
    tokenizer: PreTrainedTokenizerBase,
    request: Request,
    contexts: Sequence[str],
    neighbor_contexts: Sequence[str] = ("{}",),
    n_neighbors: int = 0,
    tokenization: Tokenization = Tokenization(),
) -> Problem:
    """Rows for o* in every context, for o of the editing neighbors, and for the KL prompt.

    The legacy code puts a space before a neighbor's object on every model (SPEC D.1).
    """
    if n_neighbors > len(request.editing_neighbors):
        raise PromptError(
            f"request {request.id} has {len(request.editing_neighbors)} editing neighbors, "
            f"{n_neighbors} are asked for; use the neighbor-eligible requests"
        )
    edit_rows = [
        subject_row(tokenizer, c, request.prompt, request.subject, request.target_new, tokenization)
        for c in contexts
    ]
    spaced = replace(tokenization, space=True)
    neighbor_rows = [
        subject_row(tokenizer, c, n.prompt, n.subject, n.target, spaced)
        for n in request.editing_neighbors[:n_neighbors]
        for c in neighbor_contexts
    ]
    return Problem(
        tuple(edit_rows),
        subject_row(tokenizer, "{}", "{} is a", request.subject),
        tuple(neighbor_rows),
        max(1, len(neighbor_contexts)),
    )


def clean_context(text: str) -> str:
    """A generated prefix made safe as a template: `{prefix}. {}` (SPEC A.3)."""
    text = unicodedata.normalize("NFKD", text).replace("\n\n", " ").replace("<|endoftext|>", "")
    return text.replace("{", " ").replace("}", " ") + ". {}"


@torch.no_grad()
def generate_contexts(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    lengths: Sequence[tuple[int, int]] = ((10, 1),),
    seed: int = 42,
) -> list[str]:
    """Context templates: the bare `{}`, then sampled prefixes (SPEC A.3).

    `lengths` lists (total tokens, prefixes per seed word); MEMIT and PMET use ((10, 1),), ROME
    ((5, 2), (10, 2)). Sampling takes the top five tokens; end-of-text does not stop it.
    """
    contexts = ["{}"]
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for total, per_word in lengths:
            for word in SEED_WORDS:
                ids = torch.tensor([encode(tokenizer, word)], device=model.device)
                new = total - ids.shape[1]
                rows = model.generate(
                    ids.repeat(per_word, 1),
                    attention_mask=torch.ones_like(ids).repeat(per_word, 1),
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
