"""From texts to token rows: teacher forcing, and where the subject's last token is."""

from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase


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


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """The text of token ids, special tokens included."""
    return str(tokenizer.decode(ids))


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


CONTINUATION = Tokenization()


def target_row(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    target: str,
    subject: int = -1,
    tokenization: Tokenization = CONTINUATION,
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
        said = decode(tokenizer, labels[:-1])
        return Row(tuple(encode(tokenizer, prompt + said)), tuple(labels), subject)
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
    tokenization: Tokenization = CONTINUATION,
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
