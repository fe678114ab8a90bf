"""Raw model outputs per prompt and object, from which every metric is computed later (SPEC F.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from modeledit.models import EditableModel
from modeledit.prompts import Row, encode, target_row
from modeledit.requests import NO_TRUE_OBJECT, Neighbor, Request
from modeledit.rows import label_outputs

SCHEMA = pa.schema(
    [
        ("request", pa.int64()),
        ("kind", pa.string()),  # edit, paraphrase, neighbor, text
        ("index", pa.int16()),
        # new (o*), true (o, or the neighbor's own), own (what the unedited model said); "" for text
        ("object", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("argmax", pa.list_(pa.int32())),
        ("ranks", pa.list_(pa.int32())),  # of each object token, from 1
        ("top", pa.list_(pa.string())),  # the likeliest tokens where the object begins
        ("top_logprobs", pa.list_(pa.float32())),
    ]
)
TOP = 5


@dataclass(frozen=True)
class ScoringSettings:
    """The switches that decide what is scored, and where (SPEC I.a)."""

    eval_positions: str = "mask_aware"  # "hf_default": positions count left padding, I14
    competitor: str = "whole"  # "after_pad": pad ids of an object do not count as its tokens, I15
    specificity_gt: str = "dataset"  # "model_output", "model_output_everywhere": I18, I19
    zsre_locality: str = "whole"  # "pieces": one prompt per token of the answer, I20

    @classmethod
    def of(cls, switches: Mapping) -> "ScoringSettings":
        return cls(**{name: switches[name] for name in cls.__dataclass_fields__})


def placed(model: EditableModel, rows: list[Row], eval_positions: str) -> list[Row]:
    """The rows of one batch, with "hf_default" at the positions that left padding gives them (I14).

    Only a model with absolute positions notices.
    """
    if eval_positions != "hf_default" or not model.counts_padding:
        return rows
    longest = max((len(row.ids) for row in rows), default=0)
    return [replace(row, offset=longest - len(row.ids)) for row in rows]


def locality_pieces(neighbor: Neighbor, tokenizer) -> list[Neighbor]:
    """A zsRE neighbor as the released code scores it (SPEC E.2, I20).

    With a_1..a_T the ids of its answer: prompts `loc?` + decode(a_1..a_{j-1}) without a space, and
    objects decode(a_j).
    """
    ids = tokenizer(neighbor.target, add_special_tokens=False)["input_ids"]
    if ids and ids[0] in (tokenizer.bos_token_id, tokenizer.unk_token_id):
        ids = ids[1:]
    return [
        Neighbor(neighbor.text + tokenizer.decode(ids[:j]), None, tokenizer.decode([token]))
        for j, token in enumerate(ids)
    ]


def own_objects(scores: pa.Table, tokenizer) -> dict[tuple[int, int], str]:
    """What the scored model says at each neighbor's object: (request, index) to its text (F.2)."""
    rows = scores.filter(
        [
            kind == "neighbor" and name == "true"
            for kind, name in zip(
                scores["kind"].to_pylist(), scores["object"].to_pylist(), strict=True
            )
        ]
    ).to_pylist()
    return {(r["request"], r["index"]): tokenizer.decode(r["argmax"]).strip() for r in rows}


def score(
    model: EditableModel,
    tokenizer,
    requests: Sequence[Request],
    texts: Sequence[str] = (),
    token_budget: int = 4096,
    settings: ScoringSettings = ScoringSettings(),
    own: Mapping[tuple[int, int], str] | None = None,
) -> pa.Table:
    """Log-probabilities and argmax ids of both objects after every prompt, and of every text.

    Objects are what prompt + " " + object has after the prompt's own tokens. Texts are scored
    whole: N token ids, N-1 log-probabilities log p(x_j | x_<j) (SPEC E.3). `own` adds the unedited
    model's answers as a third object of the neighbors; an empty answer is left out.
    """
    entries: list[tuple[int, str, int, str]] = []
    rows: list[Row] = []

    def add(request: int, kind: str, name: str, prompts: Mapping[int, tuple[str, str]]) -> None:
        """One batch: all prompts of a request, kind and object."""
        batch = [target_row(tokenizer, prompt, text) for prompt, text in prompts.values()]
        batch = placed(model, batch, settings.eval_positions)
        if settings.competitor == "after_pad":
            batch = [after_pad(row) for row in batch]
        entries.extend((request, kind, index, name) for index in prompts)
        rows.extend(batch)

    def after_pad(row: Row) -> Row:
        # The code counts every pad id of a row as padding, so an object loses as many tokens.
        pads = row.labels.count(tokenizer.eos_token_id)
        return replace(row, labels=row.labels[min(pads, len(row.labels) - 1) :])

    for request in requests:
        neighbors = list(request.neighbors)
        if settings.zsre_locality == "pieces" and request.target_true == NO_TRUE_OBJECT:
            neighbors = [piece for n in neighbors for piece in locality_pieces(n, tokenizer)]
        new, true = request.target_new, request.target_true
        paraphrases = dict(enumerate(request.paraphrases))
        add(request.id, "edit", "new", {0: (request.text, new)})
        add(request.id, "edit", "true", {0: (request.text, true)})
        for name, text in (("new", new), ("true", true)):
            add(request.id, "paraphrase", name, {j: (p, text) for j, p in paraphrases.items()})
        prompts = {j: n.text for j, n in enumerate(neighbors)}
        add(request.id, "neighbor", "new", {j: (p, new) for j, p in prompts.items()})
        objects = {j: (n.text, n.target) for j, n in enumerate(neighbors)}
        add(request.id, "neighbor", "true", objects)
        if own is not None:
            said = {j: (p, own[request.id, j]) for j, p in prompts.items() if own[request.id, j]}
            add(request.id, "neighbor", "own", said)
    text_ids = [encode(tokenizer, text) for text in texts]
    for i, ids in enumerate(text_ids):
        entries.append((i, "text", 0, ""))
        rows.append(Row(tuple(ids[:-1]), tuple(ids[1:])))

    results = label_outputs(model, rows, token_budget, TOP)
    columns: dict[str, list] = {name: [] for name in SCHEMA.names}
    for i, (entry, row, said) in enumerate(zip(entries, rows, results, strict=True)):
        if entry[1] == "text":
            ids = text_ids[i - (len(entries) - len(text_ids))]
            values = (*entry, ids, said.log_p.tolist(), [], [], [], [])
        else:
            values = (
                *entry,
                list(row.labels),
                said.log_p.tolist(),
                said.argmax.tolist(),
                said.ranks.tolist(),
                [tokenizer.decode([token]) for token in said.top_ids.tolist()],
                said.top_log_p.tolist(),
            )
        for name, value in zip(SCHEMA.names, values, strict=True):
            columns[name].append(value)
    return pa.table(columns, schema=SCHEMA)


def score_unedited(
    model: EditableModel,
    tokenizer,
    requests: Sequence[Request],
    texts: Sequence[str],
    token_budget: int,
    settings: ScoringSettings,
) -> pa.Table:
    """Scores of the unedited model; on its own answers too where these count everywhere (I19)."""
    table = score(model, tokenizer, requests, texts, token_budget, settings)
    if settings.specificity_gt != "model_output_everywhere":
        return table
    own = own_objects(table, tokenizer)
    return score(model, tokenizer, requests, texts, token_budget, settings, own)
