"""Named matrices in safetensors, with provenance and digests that are verified on load. No torch.

The format has no checksum of its own: of a byte that was flipped on a disk or in a copy only the
digest in the metadata tells. It is that of each matrix, since some are read one at a time.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from modeledit.io.files import AGAIN, StateError, finished, one_line

DIGEST = "sha256 "  # metadata's name for a matrix's digest, before the matrix's own name


def write_matrices(
    path: Path, matrices: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write named arrays, their digests and string metadata, atomically.

    Equal content gives equal bytes. Raises ValueError for metadata by a name that the digests take.
    """
    if taken := [name for name in metadata if name.startswith(DIGEST)]:
        raise ValueError(f"{path}: metadata may not be called {taken[0]!r}")
    arrays = {name: np.ascontiguousarray(array) for name, array in matrices.items()}
    digests = {f"{DIGEST}{name}": array_digest(array) for name, array in arrays.items()}
    with finished(path) as temporary:
        save_file(arrays, temporary, metadata=dict(metadata) | digests)
        _sort_metadata(temporary)


def _sort_metadata(path: Path) -> None:
    """Put the metadata of a safetensors file in order; the library writes it in any.

    The file starts with the length of its header, 8 bytes, and the header, JSON padded with spaces.
    """
    with path.open("r+b") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > length:
            raise ValueError(f"{path}: the header does not fit in its own place")
        stream.seek(8)
        stream.write(text.ljust(length))


def check_metadata(
    path: Path, found: Mapping[str, str] | None, expected: Mapping[str, str]
) -> None:
    """Raise StateError, naming the field and both values, unless `found` says what is expected."""
    for field, value in expected.items():
        if (found or {}).get(field) != value:
            raise StateError(
                f"{path}: {field} is '{(found or {}).get(field)}', this run needs '{value}'; "
                f"{AGAIN}"
            )


@dataclass(frozen=True)
class Described:
    """What a file of matrices says without any being read."""

    metadata: Mapping[str, str]
    shapes: Mapping[str, list[int]]

    @property
    def plain(self) -> dict[str, str]:
        """The metadata without the matrices' digests."""
        return {k: v for k, v in self.metadata.items() if not k.startswith(DIGEST)}


def describe_matrices(path: Path, expected: Mapping[str, str]) -> Described:
    """Metadata and shapes of a file, after checking that it says what `expected` says.

    Raises StateError as `read_matrices` does.
    """
    with _opened(path) as stream:
        check_metadata(path, stream.metadata(), expected)
        shapes = {name: stream.get_slice(name).get_shape() for name in stream.keys()}
        return Described(stream.metadata() or {}, shapes)


def read_matrix(path: Path, name: str) -> np.ndarray:
    """One array of a file. Raises StateError as `read_matrices` does."""
    with _opened(path) as stream:
        return _checked(path, stream, name)


def read_matrices(
    path: Path, expected: Mapping[str, str], names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Read arrays of `path`, all or `names`, if its metadata says what `expected` says.

    Raises StateError naming the file, the field and both values when they differ, and naming the
    file where it is cut off, has no such array, or its bytes are not those that were written.
    """
    with _opened(path) as stream:
        check_metadata(path, stream.metadata(), expected)
        return {name: _checked(path, stream, name) for name in names or stream.keys()}


def read_any_matrices(path: Path, expected: Mapping[str, str]) -> dict[str, np.ndarray]:
    """As `read_matrices`; nothing of a file without matrices, whatever its metadata say."""
    with _opened(path) as stream:
        empty = not list(stream.keys())
    return {} if empty else read_matrices(path, expected)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open safetensors file. Raises StateError, naming it, where it is none or is cut off."""
    try:
        with safe_open(path, framework="numpy") as stream:
            yield stream
    except SafetensorError as error:
        raise StateError(
            f"{path}: not a whole safetensors file: {one_line(error)}; {AGAIN}"
        ) from error


def array_digest(array: np.ndarray) -> str:
    """sha256 of an array: its type, shape and bytes."""
    found = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _checked(path: Path, stream: Any, name: str) -> np.ndarray:
    """The array `name`, whose bytes are held against the digest that was written with it.

    A file without any digest is taken as it is: it is older than they are.
    """
    if name not in stream.keys():
        raise StateError(f"{path}: no {name}; {AGAIN}")
    array = stream.get_tensor(name)
    metadata = stream.metadata() or {}
    written = metadata.get(f"{DIGEST}{name}")
    if written is None and not any(key.startswith(DIGEST) for key in metadata):
        return array
    if written != array_digest(array):
        raise StateError(
            f"{path}: {name} is not what was written there: its sha256 is another one; {AGAIN}"
        )
    return array


class LazyMatrices(Mapping):
    """The matrices `{prefix}{layer}` of a file by layer, each read when it is asked for.

    Raises StateError where the file's metadata, a layer or a shape is not the expected one, and
    when a matrix is read that is not what was written.
    """

    def __init__(
        self,
        path: Path,
        expected: Mapping[str, str],
        prefix: str,
        layers: Sequence[int],
        width: int,
    ):
        self.path, self.prefix, self.layers = path, prefix, layers
        shapes = describe_matrices(path, expected).shapes
        for layer in layers:
            name = f"{prefix}{layer}"
            if name not in shapes:
                raise StateError(f"{path}: no {name}; {AGAIN}")
            if shapes[name] != [width, width]:
                raise StateError(
                    f"{path}: {name} has shape {shapes[name]}, the model's keys need "
                    f"[{width}, {width}]; {AGAIN}"
                )

    def __getitem__(self, layer: int) -> np.ndarray:
        return read_matrix(self.path, f"{self.prefix}{layer}")

    def __iter__(self) -> Iterator[int]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)
