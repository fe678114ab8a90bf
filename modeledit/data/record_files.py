"""Files of records as users have them: JSON, JSON lines, CSV and parquet, also gzipped.

What a file is, is told by its first bytes, not by its name: names are often wrong. UTF-8 is
expected, a BOM is taken away, and UTF-16 and UTF-32 are taken too. Nothing here knows what a
record is about.
"""

import csv
import gc
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from modeledit.data.records import RequestError, shown
from modeledit.io.files import one_line

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"

# How files begin that are no records but are often handed over as such, and what to do with them.
_NOT_RECORDS = {
    b"version https://git-lfs": "a pointer of git-lfs, not the file itself; run `git lfs pull`",
    b"PK\x03\x04": "a zip archive; unpack it and give the file inside",
    b"BZh": "compressed with bzip2; unpack it",
    b"\xfd7zXZ": "compressed with xz; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it",
    b"ARROW1": "an Arrow file; save it as parquet or JSON",
    b"<": "a web page or XML; download the file itself (its 'raw' address)",
}

# Columns of a CSV file that may hold lists and objects, as JSON. All other cells are texts.
_STRUCTURED = frozenset(
    "requested_rewrite paraphrase_prompts neighborhood_prompts neighborhood_samples answers "
    "rephrase_prompt locality locality_prompt locality_ground_truth paraphrases neighbors "
    "neighbor_objects".split()
)
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Entry:
    """One record of a file and its place, "record 3" or "line 3"; or why it cannot be read."""

    place: str
    value: Any = None
    broken: str = ""


@contextmanager
def many_objects() -> Iterator[None]:
    """Keep the collector of cycles off while many objects are made that have none.

    It would look through all of them again and again: 40% of the time that a whole CounterFact
    takes.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def read_entries(path: Path) -> list[Entry]:
    """The records of `path`, at least one.

    A broken line of JSON lines or CSV is an `Entry` that says so, since the others can be read.
    Raises RequestError, naming the file, where it is no file of records as a whole: empty, cut
    off, not text, or of another format.
    """
    return _entries(path, _bytes(path))


def count_records(path: Path) -> int:
    """How many records `path` has, right or wrong. Raises RequestError as `read_entries` does."""
    return len(read_entries(path))


class UserFiles:
    """What a workflow asks of its user's files each time it is parsed; each file is read once."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, str]] = {}

    def count(self, path: Path) -> int:
        """How many records `path` has, right or wrong. Raises RequestError as `read_entries`."""
        return self._of(path)[0]

    def digest(self, path: Path) -> str:
        """sha256 of the file as it is. Raises RequestError where it holds no records."""
        return self._of(path)[1]

    def _of(self, path: Path) -> tuple[int, str]:
        key = path.absolute()
        if key not in self._known:
            data = _bytes(path)
            with many_objects():
                self._known[key] = len(_entries(path, data)), hashlib.sha256(data).hexdigest()
        return self._known[key]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        why = getattr(error, "strerror", None) or error
        raise RequestError(f"{path}: {why}; name a file that can be read") from error


def _entries(path: Path, data: bytes) -> list[Entry]:
    if data.startswith(_GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise RequestError(
                f"{path}: gzip, but cut off or damaged ({error}); fetch or write it again"
            ) from error
    if data.startswith(_PARQUET):
        entries = _parquet(path, data)
    else:
        for start, what in _NOT_RECORDS.items():
            if data.startswith(start):
                raise RequestError(f"{path}: this is {what}")
        entries = _entries_of_text(path, _text(path, data))
    if not entries:
        raise RequestError(f"{path}: no record in it; give a file with at least one")
    return entries


def _text(path: Path, data: bytes) -> str:
    encoding = json.detect_encoding(data)  # by a BOM, or by where the zero bytes are
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RequestError(
            f"{path}, line {line}: byte {data[error.start]:#04x} is not {encoding.upper()} "
            "(is the file in Latin-1 or of another kind?); save it as UTF-8"
        ) from error
    if not text.strip("\0").strip():
        raise RequestError(f"{path}: the file is empty; fetch or write it again")
    return text


def _entries_of_text(path: Path, text: str) -> list[Entry]:
    suffix = next((s for s in reversed(path.suffixes) if s != ".gz"), "").lower()
    start = text.lstrip()[:1]
    lines = suffix in (".jsonl", ".ndjson")
    if start == "[":
        return _json_list(path, text)
    if start == "{":
        return _json_lines(text) if lines or _is_lines(text) else _one_object(path, text)
    if suffix in (".csv", ".tsv"):
        return _csv(path, text)
    if lines:
        return _json_lines(text)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        first = text.strip().splitlines()[0]
        raise RequestError(
            f"{path}: not JSON, JSON lines or parquet, and not named .csv; it begins with "
            f"{shown(first)}"
        ) from None
    raise RequestError(f"{path}: expected a list of records, got {shown(value)}")


class _Twice(dict):
    """An object that has a key twice: JSON would take the last one without a word."""

    def __init__(self, pairs: list[tuple[str, Any]], key: str) -> None:
        super().__init__(pairs)
        self.key = key


class _Objects:
    """Makes the objects of a JSON text, and knows whether one had a key twice."""

    def __init__(self) -> None:
        self.twice: list[_Twice] = []

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        names = [name for name, _ in pairs]
        found = _Twice(pairs, next(name for name in names if names.count(name) > 1))
        self.twice.append(found)
        return found

    def why(self, value: Any) -> str:
        """What is wrong with a record of the text, or ""."""
        try:
            found = _twice_in(value) if self.twice else None
        except RecursionError as error:
            return f"not JSON that can be read: {_why(error)}"
        if found:
            return f"the field {shown(found.key)} is there twice in one object; keep one of the two"
        return ""


def _twice_in(value: Any) -> _Twice | None:
    if isinstance(value, _Twice):
        return value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next(filter(None, map(_twice_in, inner)), None)


def _json_list(path: Path, text: str) -> list[Entry]:
    objects = _Objects()
    try:
        values = json.loads(text, object_pairs_hook=objects)
    except json.JSONDecodeError as error:
        end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        way_out = "it ends in the middle, cut off: fetch or write it again" if end else "correct it"
        raise RequestError(
            f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}; {way_out}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path}: not JSON that can be read: {_why(error)}") from error
    return [
        Entry(f"record {number}", value, objects.why(value))
        for number, value in enumerate(values, start=1)
    ]


def _one_object(path: Path, text: str) -> list[Entry]:
    """Of a file that is one object there is no list of records; say which it is, or that it ends.

    A list may be hidden in it, but which of its fields that is would be a guess.
    """
    values = _json_list(path, f"[{text}]") if text.rstrip().endswith("}") else None
    if values is None:
        raise RequestError(
            f"{path}: not JSON: an object that does not end, cut off: fetch or write it again"
        )
    keys = ", ".join(map(shown, list(values[0].value)[:5])) or "none"
    raise RequestError(
        f"{path}: expected a list of records, got one object with the fields {keys}; put the "
        "records into a list, [ … ], or one a line into a .jsonl file"
    )


def _is_lines(text: str) -> bool:
    """Whether a text that begins with an object has a whole one on a line, and more behind it."""
    lines = [line for line in text.split("\n") if line.strip()]
    return len(lines) > 1 and any(_loaded(line)[1] == "" for line in lines[:2])


def _json_lines(text: str) -> list[Entry]:
    entries = []
    # Only line feeds end a line: JSON's strings may hold the other ends of lines as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            value, broken = _loaded(line)
            entries.append(Entry(f"line {number}", value, broken))
    return entries


def _loaded(line: str) -> tuple[Any, str]:
    objects = _Objects()
    try:
        value = json.loads(line, object_pairs_hook=objects)
        return value, objects.why(value)
    except json.JSONDecodeError as error:
        why = f"not JSON: {error.msg} at column {error.colno}; the line begins with {shown(line)}"
        return None, f"{why}; correct or drop it"
    except (ValueError, RecursionError) as error:
        return None, f"not JSON that can be read: {_why(error)}; correct or drop the line"


def _why(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "lists or objects inside each other too many times"
    return str(error).split(";")[0]


def _csv(path: Path, text: str) -> list[Entry]:
    # The module refuses cells of more than 131,072 characters; a list of prompts may be longer.
    limit = csv.field_size_limit(len(text))
    try:
        return _csv_entries(path, text)
    finally:
        csv.field_size_limit(limit)


def _csv_entries(path: Path, text: str) -> list[Entry]:
    header = text.lstrip().split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] = []
    entries: list[Entry] = []
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return entries
        except csv.Error as error:
            raise RequestError(
                f"{path}, line {rows.line_num}: not CSV: {error}; is a quote not closed, or the "
                "file cut off?"
            ) from error
        if not any(cells):
            continue
        if not names:
            names = [cell.strip() for cell in cells]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise RequestError(f"{path}: the header names column {twice[0]!r} twice; drop one")
            continue
        entries.append(_csv_entry(f"line {rows.line_num}", names, cells))


def _csv_entry(place: str, names: list[str], cells: list[str]) -> Entry:
    if len(cells) != len(names):
        return Entry(
            place,
            broken=f"{len(cells)} cells for {len(names)} columns; quote texts that hold the "
            "separator, or drop the line",
        )
    record: dict[str, Any] = {}
    for name, cell in zip(names, cells, strict=True):
        if not cell:
            continue  # an empty cell is a field that is not there
        record[name] = cell
        start = cell.lstrip()[:2]
        # A prompt may begin with the place of its subject, {}.
        if name in _STRUCTURED and start[:1] in ("[", "{") and start != "{}":
            value, broken = _loaded(cell)
            if broken:
                return Entry(place, broken=f"column {name!r}: {broken}")
            record[name] = value
    return Entry(place, record)


def _parquet(path: Path, data: bytes) -> list[Entry]:
    try:
        file = pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True)
        names = file.schema_arrow.names
        twice = sorted({name for name in names if names.count(name) > 1})
        rows = [] if twice else file.read().to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        why = "".join(c if c.isprintable() else "?" for c in one_line(error))
        raise RequestError(
            f"{path}: parquet, but cut off or damaged ({why}); fetch or write it again"
        ) from error
    if twice:
        raise RequestError(f"{path}: the column {shown(twice[0])} is there twice; drop one")
    # A null is a field that is not there.
    return [
        Entry(f"record {number}", {name: v for name, v in row.items() if v is not None})
        for number, row in enumerate(rows, start=1)
    ]
