"""Texts that are longer than a model sees, told by record before anything is computed."""

from collections.abc import Iterable, Iterator, Sequence

from transformers import PreTrainedTokenizerBase

from modeledit.data.requests import Request
from modeledit.lm.model import EditableModel, ModelError
from modeledit.lm.tokens import encode, joined

LISTED = 10  # texts that the message names
LONGEST_CONTEXT = "x " * 16 + "{}"  # longer than any sampled prefix (SPEC A.3: ten tokens)


def check_lengths(
    model: EditableModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    texts: Sequence[str] = (),
    contexts: Sequence[str] = (LONGEST_CONTEXT,),
) -> None:
    """Raise ModelError where a prompt with its longest object, or a text, has too many tokens.

    `contexts` are the templates that edited prompts stand in. Tells all that are too long, with
    record, field and length.
    """
    limit = model.limit
    if limit is None:
        return
    found = [
        f"{where}: {length} tokens"
        for where, text in [*_prompts(requests, contexts), *_numbered(texts)]
        # A token is of one byte at least, but for marks at both ends.
        if len(text.encode()) + 4 > limit.tokens
        and (length := len(encode(tokenizer, text))) > limit.tokens
    ]
    if found:
        more = f"\n  and {len(found) - LISTED} more" if len(found) > LISTED else ""
        raise ModelError(
            f"{len(found)} texts are longer than {limit.tokens} tokens ({limit.why}); shorten "
            "them, drop their records or take another model:\n  "
            + "\n  ".join(found[:LISTED])
            + more
        )


def _prompts(requests: Iterable[Request], contexts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for request in requests:
        new, true = request.target_new, request.target_true
        target, at = max(new, true, key=len), f"request {request.id}"
        for context in contexts:
            yield f"{at}, its prompt", joined(context.replace("{}", request.text, 1), target)
            for i, n in enumerate(request.editing_neighbors):
                text = joined(context.replace("{}", n.text, 1), n.target)
                yield f"{at}, editing neighbor {i}", text
        for i, paraphrase in enumerate(request.paraphrases):
            yield f"{at}, paraphrase {i}", joined(paraphrase, target)
        for i, n in enumerate(request.neighbors):
            yield f"{at}, neighbor {i}", joined(n.text, max(new, n.target, key=len))


def _numbered(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for i, text in enumerate(texts):
        yield f"text {i} of ME-PPL", text
