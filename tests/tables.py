"""Made-up tables with the columns of real ones."""

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

from modeledit.evaluation.schemas import EDITS


def edits_of(requests: Sequence[int], **columns: object) -> pd.DataFrame:
    """An edits.parquet's frame: what `columns` say, and 1 or "loss" where they say nothing."""
    frame = pd.DataFrame({"request": list(requests)})
    for field in EDITS.columns:
        if field.name != "request":
            frame[field.name] = columns.get(
                field.name, "loss" if pa.types.is_string(field.type) else 1
            )
    return EDITS.table(frame).to_pandas()
