"""Data frames and tables in files: written whole, read by name, and what they have to hold."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modeledit.io.files import AGAIN, FileError, finished, one_line

Filters = list[tuple[str, str, Any]]
"""Rows that are wanted, as pyarrow takes them: [(column, "in", values), ...]."""


def read_csv(
    path: str | Path,
    dtype: type[str] | Mapping[str, type[str]] | None = None,
    way_out: str = AGAIN,
) -> pd.DataFrame:
    """A CSV file of this project: only an empty field is missing, a model may be called "NA".

    ``dtype`` says which columns are text whatever they look like: all (str), or those named.

    Raises FileError, with `way_out`, where the file is empty, no text, or cut off: every line has
    as many cells as the header. Raises FileNotFoundError where there is none.
    """
    try:
        frame = pd.read_csv(path, dtype=dtype, keep_default_na=False, na_values=[""])
        with open(path, encoding="utf-8", newline="") as stream:
            wrong = _wrong_line(csv.reader(stream))
    except (ValueError, csv.Error) as error:  # pandas' own errors among them
        raise FileError(f"{path}: not CSV: {one_line(error)}; {way_out}") from error
    if wrong:
        raise FileError(f"{path}, {wrong}; {way_out}")
    return frame


def _wrong_line(rows: Any) -> str:
    """What is wrong with the first line that has not as many cells as the header; "" for none.

    pandas takes a line that was cut off as one with missing values. `rows` is a csv reader.
    """
    width = len(next(rows))
    for row in rows:
        if row and len(row) != width:
            return f"line {rows.line_num}: {len(row)} cells, the header has {width}"
        if any("\0" in cell for cell in row):
            return f"line {rows.line_num}: zero bytes, the line was not written"
    return ""


def write_parquet(path: Path, table: pd.DataFrame | pa.Table) -> None:
    """Write a table or a frame without its index, atomically, with a checksum of each page."""
    with finished(path) as temporary:
        if isinstance(table, pd.DataFrame):
            table.to_parquet(temporary, index=False, write_page_checksum=True)
        else:
            pq.write_table(table, temporary, write_page_checksum=True)


def read_parquet(
    path: str | Path, columns: Sequence[str] | None = None, way_out: str = AGAIN
) -> pd.DataFrame:
    """The frame in a parquet file, or some of its columns.

    Raises FileError, with `way_out`, where the file is cut off, empty or damaged (a byte that was
    flipped in a page is noticed in files of `write_parquet`) or has no such column, and
    FileNotFoundError where there is none.
    """
    with whole_parquet(path, way_out):
        names = None if columns is None else list(columns)
        return pd.read_parquet(path, columns=names, page_checksum_verification=True)


def read_table(
    path: str | Path,
    columns: Sequence[str] | None = None,
    filters: Filters | None = None,
    way_out: str = AGAIN,
) -> pa.Table:
    """As `read_parquet`, as an Arrow table, and of some rows where `filters` ask for them."""
    with whole_parquet(path, way_out):
        names = None if columns is None else list(columns)
        return pq.read_table(path, columns=names, filters=filters, page_checksum_verification=True)


@contextmanager
def whole_parquet(path: str | Path, way_out: str = AGAIN) -> Iterator[None]:
    """Name `path` as the file that could not be read in the block, with the way out."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise FileError(
            f"{path}: not a whole parquet file: {one_line(error)}; {way_out}"
        ) from error


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame without its index, atomically."""
    with finished(path) as temporary:
        frame.to_csv(temporary, index=False)


def require_choice(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(allowed)}")


def require_columns(frame: pd.DataFrame, columns: Sequence[str], where: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValueError(f"{where}: missing columns {missing}")
