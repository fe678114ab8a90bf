"""Data frames in files: reading, writing, and checking what they hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modeledit.io.files import finished


def read_csv(
    path: str | Path, dtype: type[str] | Mapping[str, type[str]] | None = None
) -> pd.DataFrame:
    """A CSV file of this project: only an empty field is missing, a model may be called "NA".

    ``dtype`` says which columns are text whatever they look like: all (str), or those named.
    """
    return pd.read_csv(path, dtype=dtype, keep_default_na=False, na_values=[""])


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame without its index, atomically."""
    with finished(path) as temporary:
        frame.to_csv(temporary, index=False)


def write_parquet(path: Path, table: pd.DataFrame | pa.Table) -> None:
    """Write a table, or a frame without its index, atomically."""
    with finished(path) as temporary:
        if isinstance(table, pd.DataFrame):
            table.to_parquet(temporary, index=False)
        else:
            pq.write_table(table, temporary)


def require_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(allowed)}")


def require_columns(frame: pd.DataFrame, columns: Sequence[str], where: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValueError(f"{where}: missing columns {missing}")
