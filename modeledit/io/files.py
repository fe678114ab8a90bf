"""Files that are whole or absent: temporary names, JSON, texts, digests; and what is not, by name.

What reads an intermediate file says which one is broken and that it can be computed again: a disk
that was full, a node that was lost or a copy that was cut off leaves files that exist.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from errno import EACCES, EDQUOT, EFBIG, ENOSPC, EPERM, EROFS
from pathlib import Path
from typing import Any

from modeledit.io.refusal import Refusal

AGAIN = "delete the file to compute it again"
SCRATCH = 10_000_000  # bytes for temporary files below which nothing is begun
ABANDONED = 86_400.0  # seconds without a write after which another machine's part file is nobody's


class FileError(Refusal):
    """A file that is not what it should be; the message names it, what is wrong and the way out."""


class DiskError(FileError):
    """A file that cannot be written, since the disk is full or may not be written to."""


class StateError(FileError):
    """An intermediate file that is broken, or does not belong to the run that asks for it."""


def one_line(error: Exception) -> str:
    """What an error says, in one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def finished(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it into place once the block has ended well.

    The file gets the permissions that the umask and the folder allow, however it was written, so
    that others of a shared project can read it. What killed writes of `path` left is removed.

    Raises DiskError where the disk is full or may not be written to.
    """
    temporary = path.with_name(f".{path.name}.{_host()}-{os.getpid()}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        try:
            mode = _mode_of_new_files(temporary)
            yield temporary
            _permit(temporary, mode)
            os.replace(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """DiskError, naming `path`, where the block cannot write: what fails there rarely says where.

    An error about another file than those beside `path` is left as it is.
    """
    try:
        yield
    except DiskError:
        raise
    except Exception as error:
        if disk_full(error):
            raise DiskError(
                f"{path}: no space left for it in {path.parent}; make room there and start the "
                "same command again"
            ) from error
        if isinstance(error, OSError) and error.errno in (EROFS, EACCES, EPERM):
            if not error.filename or Path(str(error.filename)).parent == path.parent:
                raise DiskError(
                    f"{path}: cannot be written ({error.strerror}); let this user write to "
                    f"{path.parent} and start the same command again"
                ) from error
        raise


def check_scratch() -> None:
    """DiskError where there is next to no room for temporary files.

    Whatever needs some then fails with words of its own, the workflow's engine among others.
    """
    folder = Path(os.environ.get("TMPDIR") or tempfile.gettempdir())
    free = shutil.disk_usage(folder).free if folder.is_dir() else 0
    if free < SCRATCH:
        raise DiskError(
            f"TMPDIR {folder}: {free / 1e6:.1f} MB free for temporary files, at least "
            f"{SCRATCH / 1e6:.0f} are needed; make room, or set TMPDIR to another folder, and "
            "start the same command again"
        )


def disk_full(error: BaseException) -> bool:
    """Whether an error says that there is no space left, or none for this user or process.

    What is not written by Python says it in words only.
    """
    if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT, EFBIG):
        return True
    return any(os.strerror(number) in str(error) for number in (ENOSPC, EDQUOT, EFBIG))


def share(folder: Path) -> None:
    """Give the files in `folder` the permissions of new files there.

    For files that a library wrote without `finished`: safetensors makes its files private.
    """
    mode = _mode_of_new_files(folder / f".{_host()}-{os.getpid()}.part")
    for path in folder.iterdir():
        if path.is_file() and not path.is_symlink():
            _permit(path, mode)


def _permit(path: Path, mode: int) -> None:
    if path.stat().st_mode & 0o777 != mode:
        path.chmod(mode)


def _mode_of_new_files(name: Path) -> int:
    """Permissions of a file that is made there: libraries that make theirs private forget these."""
    name.touch()
    try:
        return name.stat().st_mode & 0o777
    finally:
        name.unlink()


def _remove_leftovers(path: Path) -> None:
    """Remove part files of `path` whose writers are gone: no such process here, or long silent."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(?:(?P<host>.+)-)?(?P<pid>\d+)\.part")
    for beside in path.parent.iterdir():
        if not (match := pattern.fullmatch(beside.name)):
            continue
        with suppress(OSError):  # another job of the study may be faster
            here = match["host"] == _host() and not _runs(int(match["pid"]))
            if here or time.time() - beside.stat().st_mtime > ABANDONED:
                beside.unlink()


def _host() -> str:
    return re.sub(r"[^\w.-]", "_", socket.gethostname())[:32]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def write_json(path: Path, value: object) -> None:
    """Write `value` as sorted, indented JSON, atomically."""
    with finished(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path, way_out: str = AGAIN) -> dict:
    """The object in a JSON file.

    Raises FileError, with `way_out`, where the file is cut off, empty or holds something else, and
    FileNotFoundError where there is none.
    """
    value = _loaded(path, _text(path, way_out), "", way_out)
    if not isinstance(value, dict):
        raise FileError(f"{path}: expected an object, got {_shown(value)}; {way_out}")
    return value


def check_fields(path: Path, found: dict, kind: type, what: str, way_out: str = AGAIN) -> None:
    """StateError, with what `path` is not, unless `found` has the fields of a dataclass `kind`."""
    names = {field.name for field in fields(kind)}
    if found.keys() != names:
        raise StateError(f"{path}: not {what}, which says {', '.join(sorted(names))}; {way_out}")


def read_json_lines(path: Path, way_out: str = AGAIN) -> Iterator[Any]:
    """The values of a file with one JSON value a line, each line ended.

    Raises FileError, with `way_out`, naming the file and the line that is cut off or no JSON.
    """
    text = _text(path, way_out, may_be_empty=True)
    if text and not text.endswith("\n"):
        raise FileError(f"{path}: the last line does not end, it is cut off; {way_out}")
    # Only line feeds end a line: JSON's strings may hold the other ends of lines as they are.
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        yield _loaded(path, line, f", record {number}", way_out)


def read_texts(path: Path, way_out: str = AGAIN) -> list[str]:
    """Texts of a file with one JSON string a line, at least one. Raises FileError."""
    texts = list(read_json_lines(path, way_out))
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str):
            raise FileError(f"{path}, line {number}: expected text, got {_shown(text)}; {way_out}")
    if not texts:
        raise FileError(f"{path}: the file is empty; {way_out}")
    return texts


def _text(path: Path, way_out: str, may_be_empty: bool = False) -> str:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{path}: byte {data[error.start]:#04x} at {error.start} is no UTF-8; {way_out}"
        ) from error
    if not may_be_empty and not text.strip():
        raise FileError(f"{path}: the file is empty; {way_out}")
    return text


def _loaded(path: Path, text: str, place: str, way_out: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = (
            f"line {error.lineno}, column {error.colno}" if not place else f"column {error.colno}"
        )
        raise FileError(f"{path}{place}: not JSON: {error.msg} at {where}; {way_out}") from error
    except (ValueError, RecursionError) as error:  # endless numbers, endless nesting
        raise FileError(f"{path}{place}: not JSON that can be read; {way_out}") from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


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


def write_texts(path: Path, texts: Iterable[str]) -> None:
    """Write texts as `read_texts` reads them, atomically."""
    write_text(path, "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts))


def optional_path(name: str | None) -> Path | None:
    """The path of a file that not every job has; None where the name is empty or none."""
    return Path(name) if name else None
