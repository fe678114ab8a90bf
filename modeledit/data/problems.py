"""What is wrong with a file's records, all of it at once: the files hold thousands of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeledit.data.record_files import Entry
from modeledit.data.records import RequestError, shown

NAMED = 10  # bad records that a message shows, and records that a note names


@dataclass(frozen=True)
class Problem:
    """Why a record cannot be used: its place in the file, its id as written, and the words."""

    place: str
    id: str
    why: str

    def __str__(self) -> str:
        return f"{self.place}{f' (id {self.id})' if self.id else ''}: {self.why}"


def object_of(entry: Entry) -> dict[str, Any]:
    """The object that a record is. Raises RequestError where it is none, or cannot be read."""
    if entry.broken:
        raise RequestError(entry.broken)
    if not isinstance(entry.value, dict):
        raise RequestError(f"expected an object, got {shown(entry.value)}; correct or drop it")
    return entry.value


def message(path: Path, problems: Sequence[Problem], total: int, way_out: str = "") -> str:
    """All that is wrong with a file: in one line where it is one record, else a line each."""
    if len(problems) == 1:
        return f"{path}, {problems[0]}"
    head = f"{path}: {len(problems)} of {total} records cannot be used"
    return "\n".join([f"{head}{way_out}:", *lines_of(problems)])


def lines_of(problems: Sequence[Problem]) -> list[str]:
    """A line for each of the first ten, and how many more there are."""
    rest = len(problems) - NAMED
    return [
        *(f"  {problem}" for problem in problems[:NAMED]),
        *([f"  and {rest} more"] if rest > 0 else []),
    ]
