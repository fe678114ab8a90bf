"""Made-up tables with the columns of real ones."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from modeledit.evaluation.metrics import Measured, Scoring, measured_run
from modeledit.evaluation.schemas import EDITS, RAW_SCORES, REQUEST_VALUES, Schema
from modeledit.study.layout import RunKey


def run_metrics(
    scores: Mapping[int, pd.DataFrame],
    edits: Mapping[int, pd.DataFrame],
    *,
    run: RunKey,
    scoring: Scoring,
    sequential: bool,
) -> pd.DataFrame:
    """`measured_run` from scores: ``scores[0]`` are the unedited model's, those of an iteration
    after the stop are empty."""
    unedited = scores.get(0, pd.DataFrame())
    measured = {
        k: Measured.of(frame, unedited if k else None, scoring)
        for k, frame in scores.items()
        if not (frame.empty or unedited.empty)
    }
    return measured_run(measured, edits, run=run, scoring=scoring, sequential=sequential)


def edits_of(requests: Sequence[int], **columns: object) -> pd.DataFrame:
    """An edits.parquet's frame: what `columns` say, and 1 or "loss" where they say nothing."""
    return _filled(EDITS, pd.DataFrame({"request": pd.Series(requests, dtype=int)}), columns)


def values_of(requests: Sequence[int], ks: Iterable[int], **columns: object) -> pd.DataFrame:
    """A request_metrics.parquet's frame after iterations `ks`, with 1 for what is not said."""
    rows = pd.DataFrame([(request, k) for k in ks for request in requests])
    return _filled(REQUEST_VALUES, rows.set_axis(["request", "k"], axis=1), columns)


def _filled(schema: Schema, frame: pd.DataFrame, columns: dict[str, object]) -> pd.DataFrame:
    for field in schema.columns:
        if field.name not in frame:
            usual = "loss" if pa.types.is_string(field.type) else 1
            frame[field.name] = columns.get(field.name, usual)
    return schema.table(frame).to_pandas()


def scores_of(requests: int, k: int, neighbors: int = 10) -> pa.Table:
    """A scores.parquet's table of so many requests in CounterFact's shape, drawn for iteration k.

    Each has its prompt, two paraphrases and neighbors, with objects of one to three tokens.
    """
    random = np.random.default_rng(k)
    kinds = ["edit", *["paraphrase"] * 2, *["neighbor"] * neighbors]
    index = [0, 0, 1, *range(neighbors)]
    n = requests * len(kinds) * 2
    tokens = np.resize([1, 2, 2, 3], n)
    at = pa.array(np.concatenate([[0], np.cumsum(tokens)]), pa.int32())
    heads = pa.array(np.arange(0, 5 * n + 1, 5), pa.int32())

    def ragged(values: np.ndarray, kind: pa.DataType) -> pa.Array:
        return pa.ListArray.from_arrays(at, pa.array(values, kind))

    ids = np.random.default_rng(0).integers(0, 9, at[-1].as_py())
    said = np.where(random.random(len(ids)) < 0.8, ids, 9)
    columns = {
        "request": np.repeat(np.arange(requests), 2 * len(kinds)),
        "kind": np.tile(np.repeat(kinds, 2), requests),
        "index": np.tile(np.repeat(index, 2), requests),
        "object": np.tile(["new", "true"], n // 2),
        "token_ids": ragged(ids, pa.int32()),
        "logprobs": ragged(-random.random(len(ids)), pa.float32()),
        "argmax": ragged(said, pa.int32()),
        "ranks": ragged(1 + (said == 9), pa.int32()),
        "top": pa.ListArray.from_arrays(heads, pa.array(np.resize([" a", " b", " c"], 5 * n))),
        "top_logprobs": pa.ListArray.from_arrays(
            heads, pa.array(-random.random(5 * n), pa.float32())
        ),
    }
    return pa.table(columns, schema=RAW_SCORES.columns)
