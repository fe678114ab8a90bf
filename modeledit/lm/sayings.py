"""Which prompts a model continues, and the table of what it says."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from modeledit.data.probes import Probe, counted
from modeledit.data.requests import Request, fill
from modeledit.evaluation.schemas import GENERATIONS
from modeledit.io.log import progress
from modeledit.lm.generation import Speaker
from modeledit.lm.model import EditableModel
from modeledit.lm.scoring import scored_neighbors
from modeledit.lm.tokens import PromptError, encode
from modeledit.study.switches import ScoringSwitches


class Prompt(NamedTuple):
    """A text to be continued, and where it belongs: its `number` counts within request and kind."""

    request: int
    kind: str
    number: int
    text: str


def request_prompts(
    requests: Iterable[Request], tokenizer: PreTrainedTokenizerBase, switches: ScoringSwitches
) -> list[Prompt]:
    """The edit, paraphrase and neighbor prompts, counted as the scores count them."""
    found = []
    for request in requests:
        neighbors = scored_neighbors(tokenizer, request, switches)
        texts = {
            "edit": [request.text],
            "paraphrase": request.paraphrases,
            "neighbor": [neighbor.text for neighbor in neighbors],
        }
        for kind, some in texts.items():
            found += [Prompt(request.id, kind, i, text) for i, text in enumerate(some)]
    return found


def subject_prompts(requests: Iterable[Request], templates: Sequence[str]) -> list[Prompt]:
    """How longer texts about each request's subject begin."""
    return [
        Prompt(request.id, "subject", i, fill(template, request.subject))
        for request in requests
        for i, template in enumerate(templates)
    ]


def probe_prompts(probes: Iterable[Probe]) -> list[Prompt]:
    """The probes, counted within their request and kind."""
    return [Prompt(probe.request, probe.kind, i, probe.prompt) for i, probe in counted(probes)]


def sayings(
    model: EditableModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    most: int,
    token_budget: int,
) -> pa.Table:
    """GENERATIONS: the greedy continuation of each prompt, by `most` tokens at most.

    Raises PromptError for a prompt without tokens, ModelError for one that leaves no room.
    """
    rows = [encode(tokenizer, prompt.text) for prompt in prompts]
    for prompt, row in zip(prompts, rows, strict=True):
        if not row:
            raise PromptError(
                f"request {prompt.request}: the {prompt.kind} prompt {prompt.text!r} has no "
                "tokens; there is nothing to continue"
            )
    with progress(len(set(map(tuple, rows))), "prompt") as bar:
        said = Speaker(model, tokenizer, most, token_budget).continuations(rows, bar.update)
    columns = {
        "request": [prompt.request for prompt in prompts],
        "kind": [prompt.kind for prompt in prompts],
        "index": [prompt.number for prompt in prompts],
        "prompt": [prompt.text for prompt in prompts],
        "token_ids": [list(one.ids) for one in said],
        "text": [one.text for one in said],
        "ended": [one.ended for one in said],
    }
    return pa.table(columns, schema=GENERATIONS.columns)
