"""All rows of one request's OPTIMIZATION (SPEC A.6, D.1)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from transformers import PreTrainedTokenizerBase

from modeledit.data.requests import Request
from modeledit.lm.tokens import CONTINUATION, PromptError, Row, Tokenization, subject_row


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
    tokenization: Tokenization = CONTINUATION,
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
        # A neighbor without a subject has no template either, which `subject_row` refuses.
        subject_row(tokenizer, c, n.prompt, n.subject or "", n.target, spaced)
        for n in request.editing_neighbors[:n_neighbors]
        for c in neighbor_contexts
    ]
    return Problem(
        tuple(edit_rows),
        subject_row(tokenizer, "{}", "{} is a", request.subject),
        tuple(neighbor_rows),
        max(1, len(neighbor_contexts)),
    )
