"""Fields of records that come from files: their kinds, and errors that name file and record."""

from pathlib import Path
from typing import Any

from modeledit.io.files import FileError

SHOWN = 80  # characters of a value in an error message


class RequestError(FileError):
    """A file of records, or one record, that cannot be requests; the message says where and why."""


class located:
    """Adds the file and the number of the record to a `RequestError` raised inside."""

    def __init__(self, path: Path, number: int) -> None:
        self.place = f"{path}, record {number}"

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, RequestError):
            raise RequestError(f"{self.place}: {error}") from error


_JSON_NAMES = {str: "text", int: "a whole number", list: "a list", dict: "an object"}


def field(record: dict[str, Any], name: str, kind: type, where: str = "") -> Any:
    """The field `name` of `record`, which must be there and of type `kind`."""
    if name not in record:
        raise RequestError(f"field '{where}{name}': missing; add it or drop the record")
    value = record[name]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RequestError(
            f"field '{where}{name}': expected {_JSON_NAMES[kind]}, got {shown(value)}; correct it "
            "or drop the record"
        )
    return value


def text_list(record: dict[str, Any], name: str, where: str = "") -> tuple[str, ...]:
    """The field `name` of `record`, a list of non-empty texts."""
    values = field(record, name, list, where)
    for i, value in enumerate(values):
        if not (isinstance(value, str) and value.isascii() and value.strip()):  # seldom
            check_text(value, f"{where}{name}[{i}]")
    return tuple(values)


def check_text(value: Any, name: str) -> None:
    """Raise RequestError unless the value of field `name` is a non-empty text."""
    if isinstance(value, str) and value.isascii() and value.strip():  # as nearly always
        return
    if not isinstance(value, str) or not value.strip():
        raise RequestError(
            f"field '{name}': expected non-empty text, got {shown(value)}; correct it or drop the "
            "record"
        )
    check_characters(value, name)


def check_characters(value: str, name: str) -> None:
    """Raise RequestError where a text holds half a character, which no file and no token has."""
    if value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"field '{name}': half a character (surrogate {value[error.start]!a}) in "
            f"{shown(value)}; write the whole character or drop the record"
        ) from error


def shown(value: Any) -> str:
    """The value as an error message shows it, cut to SHOWN characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # whole numbers of thousands of digits, endless nesting
        text = f"a {type(value).__name__} too large to be shown"
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
