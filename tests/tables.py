"""Made-up tables with the columns of real ones."""

from collections.abc import Iterable, Sequence

import pandas as pd
import pyarrow as pa

from modeledit.evaluation.schemas import EDITS, REQUEST_VALUES, Schema


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
