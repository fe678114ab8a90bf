"""Files that are whole or absent: temporary names, JSON, texts, digests."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def finished(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it into place once the block has ended well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write `value` as sorted, indented JSON, atomically."""
    with finished(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def digest(value: object) -> str:
    """sha256 of a JSON-serialisable value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, atomically."""
    with finished(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_texts(path: Path) -> list[str]:
    """Texts of a file with one JSON string a line."""
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def write_texts(path: Path, texts: Iterable[str]) -> None:
    """Write texts as `read_texts` reads them, atomically."""
    write_text(path, "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts))


def optional_path(name: str | None) -> Path | None:
    """The path of a file that not every job has; None where the name is empty or none."""
    return Path(name) if name else None
