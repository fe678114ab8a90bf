"""From texts to token rows: teacher forcing, and where the subject's last token is."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from modeledit.data.writing import separator
from modeledit.io.refusal import Refusal


class PromptError(Refusal):
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


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """The text of token ids, special tokens included."""
    return str(tokenizer.decode(ids))


@dataclass(frozen=True)
class Tokenization:
    """How a target becomes labels (SPEC A.4; switch target_tokenization, I11-I13).

    "continuation": what encode(prompt + " " + target) has after the prompt's own ids. "legacy":
    encode(" " + target) alone, on the last positions of encode(prompt + decode(labels[:-1])), as in
    the code behind the published tables; there PMET adds the `space` on GPT models only, and MEMIT
    alone `drops` a BOS or unknown mark that comes first. Between scripts without spaces there is
    none (`modeledit.data.writing.separator`).
    """

    kind: str = "continuation"
    space: bool = True
    drops: bool = True


CONTINUATION = Tokenization()


def target_row(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    target: str,
    tokenization: Tokenization = CONTINUATION,
    subject_end: int = 0,
) -> Row:
    """Teacher-forced row for `target` after `prompt`, whose first `subject_end` characters end with
    the subject; 0 for a row without one."""
    if tokenization.kind == "legacy":
        spaced = separator(prompt, target) + target if tokenization.space else target
        labels = tokenizer(spaced, add_special_tokens=False)["input_ids"]
        special = (tokenizer.bos_token_id, tokenizer.unk_token_id)
        if tokenization.drops and labels and labels[0] in special:
            labels = labels[1:]
        if not labels:
            raise PromptError(f"target '{target}' has no tokens of its own")
        text = prompt + decode(tokenizer, labels[:-1])
        ids = encode(tokenizer, text)
        subject = subject_index(tokenizer, text, ids, subject_end)
        return Row(tuple(ids), tuple(labels), subject)
    full, start = continuation(tokenizer, prompt, target)
    if start == 0 or start == len(full):
        raise PromptError(f"target '{target}' has no tokens of its own after prompt '{prompt}'")
    subject = subject_index(tokenizer, joined(prompt, target), full, subject_end)
    return Row(tuple(full[:-1]), tuple(full[start:]), subject)


def joined(prompt: str, target: str) -> str:
    """The text that `target` makes behind `prompt`."""
    return prompt + separator(prompt, target) + target


def continuation(
    tokenizer: PreTrainedTokenizerBase, prompt: str, target: str
) -> tuple[list[int], int]:
    """Ids of prompt + " " + target, and where the target begins: len(ids) where it has no ids."""
    before, full = encode(tokenizer, prompt), encode(tokenizer, joined(prompt, target))
    start = min(len(before), len(full))
    # SentencePiece may merge across the border: the target then begins where the two part.
    while full[:start] != before[:start]:
        start -= 1
    return full, start


def subject_index(tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int], end: int) -> int:
    """Which of the `ids` of `text` holds the last character of a subject that ends at `end`.

    As a rule that is the number of tokens of text[:end], less one (SPEC A.5). Where `ids` do not
    begin with these, since a token reaches over the border, the tokenizer's offsets say it;
    PromptError where it has none. -1 where `end` is 0.
    """
    if not end:
        return -1
    before = encode(tokenizer, text[:end])
    if ids[: len(before)] == before:
        return len(before) - 1
    if not tokenizer.is_fast:
        raise PromptError(
            f"the tokens of '{text}' do not begin with those of '{text[:end]}', and the tokenizer "
            "does not say which of them holds the subject's last letter; reword the prompt"
        )
    offsets = tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
    return max(i for i, (start, stop) in enumerate(offsets) if start < end <= stop)


def subject_row(
    tokenizer: PreTrainedTokenizerBase,
    context: str,
    prompt: str,
    subject: str,
    target: str | None = None,
    tokenization: Tokenization = CONTINUATION,
) -> Row:
    """Row for `prompt` (a template) inside `context`, with or without a target to predict.

    Without a target the row ends at the subject's last token: nothing after it can change what is
    read there.
    """
    template = context.replace("{}", prompt, 1)
    if template.count("{}") != 1:
        raise PromptError(f"prompt '{template}' must hold exactly one {{}} for the subject")
    end = template.index("{}") + len(subject)
    text = template.replace("{}", subject, 1)
    if target is not None:
        return target_row(tokenizer, text, target, tokenization, end)
    ids = encode(tokenizer, text)
    index = subject_index(tokenizer, text, ids, end)
    return Row(tuple(ids[: index + 1]), (), index)
