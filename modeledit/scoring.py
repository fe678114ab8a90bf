"""Raw model outputs per prompt and object, from which every metric is computed later (SPEC F.1)."""

from collections.abc import Sequence

import pyarrow as pa

from modeledit.models import EditableModel
from modeledit.prompts import Row, encode, target_row
from modeledit.requests import Request
from modeledit.rows import label_log_probabilities

SCHEMA = pa.schema(
    [
        ("request", pa.int64()),
        ("kind", pa.string()),  # edit, paraphrase, neighbor, text
        ("index", pa.int16()),
        ("object", pa.string()),  # new (o*), true (o, or the neighbor's own), "" for a text
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("argmax", pa.list_(pa.int32())),
    ]
)


def score(
    model: EditableModel,
    tokenizer,
    requests: Sequence[Request],
    texts: Sequence[str] = (),
    token_budget: int = 4096,
    tokenization: str = "continuation",
) -> pa.Table:
    """Log-probabilities and argmax ids of both objects after every prompt, and of every text.

    Texts are scored whole: N token ids, N-1 log-probabilities log p(x_j | x_<j) (SPEC E.3).
    """
    entries: list[tuple[int, str, int, str]] = []
    rows: list[Row] = []

    def add(request: int, kind: str, index: int, prompt: str, objects: dict[str, str]) -> None:
        for name, text in objects.items():
            entries.append((request, kind, index, name))
            rows.append(target_row(tokenizer, prompt, text, tokenization=tokenization))

    for request in requests:
        both = {"new": request.target_new, "true": request.target_true}
        add(request.id, "edit", 0, request.text, both)
        for j, paraphrase in enumerate(request.paraphrases):
            add(request.id, "paraphrase", j, paraphrase, both)
        for j, neighbor in enumerate(request.neighbors):
            objects = {"new": request.target_new, "true": neighbor.target}
            add(request.id, "neighbor", j, neighbor.text, objects)
    text_ids = [encode(tokenizer, text) for text in texts]
    for i, ids in enumerate(text_ids):
        entries.append((i, "text", 0, ""))
        rows.append(Row(tuple(ids[:-1]), tuple(ids[1:])))

    results = label_log_probabilities(model, rows, token_budget)
    columns: dict[str, list] = {name: [] for name in SCHEMA.names}
    for i, (entry, row, (log_p, argmax)) in enumerate(zip(entries, rows, results, strict=True)):
        is_text = entry[1] == "text"
        ids = text_ids[i - (len(entries) - len(text_ids))] if is_text else row.labels
        values = (*entry, list(ids), log_p.tolist(), [] if is_text else argmax.tolist())
        for name, value in zip(SCHEMA.names, values, strict=True):
            columns[name].append(value)
    return pa.table(columns, schema=SCHEMA)
