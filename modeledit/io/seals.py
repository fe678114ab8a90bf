"""Seals: the sha256 of what a job left, in a small file beside it, for the jobs that read it.

Most files cannot tell that they are another's, or lack lines at their end: a table whose digit was
flipped on a disk, a CSV file that was cut off at a line's end, the scores of another run that were
copied into this one. A seal tells, whatever the file's kind, and leaves the file itself to those
who read it with tools of their own. `sha256sum --check` takes it, too.

A file without a seal is taken as it is: it came from somewhere else, without it. Of matrices, which
are large, only the header is sealed: it has their digests (`modeledit.io.matrices`).
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modeledit.io.files import AGAIN, StateError, file_digest, write_text

MATRICES = ".safetensors"


def seal_of(path: Path) -> Path:
    """Where the seal of a file is."""
    what = ".header" if path.suffix == MATRICES else ""
    return path.with_name(f".{path.name}{what}.sha256")


def seal(path: Path) -> None:
    """Seal a file as it is now; nothing where there is none."""
    if path.is_file():
        write_text(seal_of(path), f"{_digest(path)}  {path.name}\n")


def _digest(path: Path) -> str:
    """sha256 of a file; of matrices that of the header, which has the matrices' own."""
    if path.suffix != MATRICES:
        return file_digest(path)
    with path.open("rb") as stream:
        length = stream.read(8)
        # A length that was damaged may be any: no more than the file is read.
        rest = min(int.from_bytes(length, "little"), path.stat().st_size)
        return hashlib.sha256(length + stream.read(rest)).hexdigest()


def check_seal(path: Path, way_out: str = AGAIN) -> None:
    """StateError, with `way_out`, where a file has a seal and is not what was sealed."""
    mark = seal_of(path)
    if not mark.is_file() or not path.is_file():
        return
    written = mark.read_text(encoding="utf-8", errors="replace").partition(" ")[0]
    if _digest(path) != written:
        raise StateError(
            f"{path}: not what was written there, its sha256 is another one; {way_out}, or delete "
            f"{mark.name} beside it to take the file as it is"
        )


@contextmanager
def sealed(inputs: Iterable[str | Path], outputs: Iterable[str | Path]) -> Iterator[None]:
    """Check the seals of what a job reads, and seal what it leaves once the block has ended well.

    What it leaves has no seal in the meantime: one that is killed leaves none of an earlier one.
    """
    left = [Path(path) for path in outputs]
    for path in inputs:
        check_seal(Path(path))
    for path in left:
        seal_of(path).unlink(missing_ok=True)
    yield
    for path in left:
        seal(path)
