"""Raw model outputs per prompt and object, from which every metric is computed later (SPEC F.1)."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from modeledit.data.probes import Probe, counted
from modeledit.data.requests import NO_TRUE_OBJECT, Neighbor, Request
from modeledit.evaluation.schemas import RAW_SCORES
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import PromptError, Row, continuation, decode, encode
from modeledit.lm.trees import LabelOutputs, label_outputs
from modeledit.study.switches import ScoringSwitches

TOP = 5
TABLE_ROWS = 4096  # that become columns at once: as Python's lists they take many times the memory


def placed(model: EditableModel, rows: list[Row], eval_positions: str) -> list[Row]:
    """The rows of one batch, with "hf_default" at the positions that left padding gives them (I14).

    Only a model with absolute positions notices.
    """
    if eval_positions != "hf_default" or not model.counts_padding:
        return rows
    longest = max((len(row.ids) for row in rows), default=0)
    return [replace(row, offset=longest - len(row.ids)) for row in rows]


def locality_pieces(neighbor: Neighbor, tokenizer: PreTrainedTokenizerBase) -> list[Neighbor]:
    """A zsRE neighbor as the released code scores it (SPEC E.2, I20).

    With a_1..a_T the ids of its answer: prompts `loc?` + decode(a_1..a_{j-1}) without a space, and
    objects decode(a_j).
    """
    ids = tokenizer(neighbor.target, add_special_tokens=False)["input_ids"]
    if ids and ids[0] in (tokenizer.bos_token_id, tokenizer.unk_token_id):
        ids = ids[1:]
    return [
        Neighbor(neighbor.text + decode(tokenizer, ids[:j]), None, decode(tokenizer, [token]))
        for j, token in enumerate(ids)
    ]


def object_row(tokenizer: PreTrainedTokenizerBase, prompt: str, text: str, competitor: str) -> Row:
    """Teacher-forced row of an object as it is scored; without labels where it has no tokens.

    "whole": the object's tokens are what prompt + " " + object has after the prompt's own.
    "after_pad", as the released code counts (I15, F.1): after as many tokens as the prompt has,
    and one more for every pad id (end-of-text) of the object.
    """
    full, start = continuation(tokenizer, prompt, text)
    if competitor == "after_pad":
        before, pad = encode(tokenizer, prompt), tokenizer.eos_token_id
        start = min(len(before) + full.count(pad) - before.count(pad), len(full))
    if start == 0:
        raise PromptError(
            f"prompt '{prompt}' has no tokens; there is nothing to say '{text}' after"
        )
    return Row(tuple(full[:-1]), tuple(full[start:]))


def scored_neighbors(
    tokenizer: PreTrainedTokenizerBase, request: Request, switches: ScoringSwitches
) -> list[Neighbor]:
    """The neighbors of a request as they are scored: zsRE's may come in pieces (I20)."""
    if switches.zsre_locality == "pieces" and request.target_true == NO_TRUE_OBJECT:
        return [piece for n in request.neighbors for piece in locality_pieces(n, tokenizer)]
    return list(request.neighbors)


def own_objects(scores: pa.Table, tokenizer: PreTrainedTokenizerBase) -> dict[tuple[int, int], str]:
    """What the scored model says at each neighbor's object: (request, index) to its text (F.2).

    Decoded and stripped; a model that says only a space has the answer "".
    """
    rows = scores.filter(
        [
            kind == "neighbor" and name == "true"
            for kind, name in zip(
                scores["kind"].to_pylist(), scores["object"].to_pylist(), strict=True
            )
        ]
    ).to_pylist()
    return {(r["request"], r["index"]): decode(tokenizer, r["argmax"]).strip() for r in rows}


class _Batches:
    """Rows on their way to the model: one batch for all prompts of a request, kind and object."""

    def __init__(
        self, model: EditableModel, tokenizer: PreTrainedTokenizerBase, switches: ScoringSwitches
    ) -> None:
        self.model, self.tokenizer, self.switches = model, tokenizer, switches
        self.entries: list[tuple[int, str, int, str]] = []  # request, kind, index, object
        self.rows: list[Row] = []
        self.spelled = cache(lambda token: decode(tokenizer, [token]))  # the same ones come often

    def add(self, request: int, kind: str, name: str, prompts: Sequence[tuple[str, str]]) -> None:
        """All prompts of a request and kind, each with its object."""
        how = self.switches
        batch = [object_row(self.tokenizer, p, text, how.competitor) for p, text in prompts]
        if name == "new" and not all(row.labels for row in batch):
            raise PromptError(
                f"request {request}: o* '{prompts[0][1]}' has no tokens of its own after a prompt"
                f" of kind {kind}; drop the request or give it another object"
            )
        self.entries += [(request, kind, index, name) for index in range(len(batch))]
        self.rows += placed(self.model, batch, how.eval_positions)

    def add_own(
        self, request: Request, kind: str, neighbors: Sequence[Neighbor], own: Mapping
    ) -> None:
        """The unedited model's answers, empty ones too: these are scored as prompt + " " (I19)."""
        answers = [(n.text, own[request.id, j]) for j, n in enumerate(neighbors)]
        self.add(request.id, kind, "own", answers)

    def add_probe(self, probe: Probe, index: int) -> None:
        """What should be said, and what was said before the edit or must not be said."""
        other = probe.before or next(iter(probe.forbidden), None)
        for name, text in (("new", next(iter(probe.answers), None)), ("true", other)):
            if text is not None:
                row = object_row(self.tokenizer, probe.prompt, text, self.switches.competitor)
                self.entries.append((probe.request, probe.kind, index, name))
                self.rows.append(row)

    def run(self, token_budget: int) -> pa.Table:
        """What the model says of all rows, as RAW_SCORES."""
        results = deque(label_outputs(self.model, self.rows, token_budget, TOP))
        parts = [
            self._table(range(start, min(start + TABLE_ROWS, len(self.rows))), results)
            for start in range(0, len(self.rows) or 1, TABLE_ROWS)
        ]
        return pa.concat_tables(parts).combine_chunks()

    def _table(self, rows: range, results: deque[LabelOutputs]) -> pa.Table:
        """RAW_SCORES of the next rows, which are taken off `results`."""
        columns: dict[str, list] = {name: [] for name in RAW_SCORES.names}
        for i in rows:
            entry, row, said = self.entries[i], self.rows[i], results.popleft()
            values = (
                *entry,
                list(row.labels),
                said.log_p.tolist(),
                said.argmax.tolist(),
                said.ranks.tolist(),
                [self.spelled(token) for token in said.top_ids.tolist()],
                said.top_log_p.tolist(),
            )
            if entry[1] == "text":  # whole: N ids, N - 1 log-probabilities, and no more
                values = (*entry, [row.ids[0], *row.labels], said.log_p.tolist(), [], [], [], [])
            for name, value in zip(RAW_SCORES.names, values, strict=True):
                columns[name].append(value)
        return pa.table(columns, schema=RAW_SCORES.columns)


def score(
    model: EditableModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    switches: ScoringSwitches,
    texts: Sequence[str] = (),
    token_budget: int = 4096,
    own: Mapping[tuple[int, int], str] | None = None,
) -> pa.Table:
    """Log-probabilities and argmax ids of both objects after every prompt, and of every text.

    Objects are what prompt + " " + object has after the prompt's own tokens (`object_row`). Texts
    are scored whole: N token ids, N-1 log-probabilities log p(x_j | x_<j) (SPEC E.3). `own` adds
    the unedited model's answers as a third object of the neighbors. Raises PromptError where o*
    has no tokens, or a text fewer than two.
    """
    batches = _Batches(model, tokenizer, switches)
    for request in requests:
        neighbors = scored_neighbors(tokenizer, request, switches)
        new, true = request.target_new, request.target_true
        for kind, prompts in (("edit", [request.text]), ("paraphrase", request.paraphrases)):
            batches.add(request.id, kind, "new", [(prompt, new) for prompt in prompts])
            batches.add(request.id, kind, "true", [(prompt, true) for prompt in prompts])
        batches.add(request.id, "neighbor", "new", [(n.text, new) for n in neighbors])
        batches.add(request.id, "neighbor", "true", [(n.text, n.target) for n in neighbors])
        if own is not None:
            batches.add_own(request, "neighbor", neighbors, own)
    batches.entries += [(i, "text", 0, "") for i in range(len(texts))]
    batches.rows += text_rows(tokenizer, texts)
    return batches.run(token_budget)


def text_rows(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Row]:
    """Texts as rows that are scored whole; PromptError for one of fewer than two tokens."""
    rows = []
    for i, text in enumerate(texts):
        ids = encode(tokenizer, text)
        if len(ids) < 2:
            raise PromptError(f"text {i}, '{text}', has {len(ids)} tokens; perplexity needs two")
        rows.append(Row(tuple(ids[:-1]), tuple(ids[1:])))
    return rows


def score_probes(
    model: EditableModel,
    tokenizer: PreTrainedTokenizerBase,
    probes: Sequence[Probe],
    switches: ScoringSwitches,
    token_budget: int,
) -> pa.Table:
    """RAW_SCORES of probes: "new" is the first answer, "true" what was there before the edit.

    Where nothing was, "true" is what must not be said. Probes are counted within their request and
    kind; each is run without padding.
    """
    batches = _Batches(model, tokenizer, switches)
    for index, probe in counted(probes):
        batches.add_probe(probe, index)
    return batches.run(token_budget)


def score_unedited(
    model: EditableModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    switches: ScoringSwitches,
    texts: Sequence[str],
    token_budget: int,
) -> pa.Table:
    """Scores of the unedited model, and where its own answers count, of these too (I19).

    With "model_output_everywhere" they are the neighbors' objects on this model already. With
    "model_output" they are rows of kind "self", of which only the agreement is taken: its success
    is that of the dataset's objects (F.2).
    """
    table = score(model, tokenizer, requests, switches, texts, token_budget)
    if switches.specificity_gt == "dataset":
        return table
    kind = "self" if switches.specificity_gt == "model_output" else "neighbor"
    own, batches = own_objects(table, tokenizer), _Batches(model, tokenizer, switches)
    for request in requests:
        neighbors = scored_neighbors(tokenizer, request, switches)
        batches.add_own(request, kind, neighbors, own)
    return pa.concat_tables([table, batches.run(token_budget)])
