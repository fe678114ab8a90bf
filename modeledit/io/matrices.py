"""Named matrices in safetensors, with their provenance, which is verified on load. No torch."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from modeledit.io.files import finished


class StateError(ValueError):
    """A state that does not belong to the run that asks for it."""


def write_matrices(
    path: Path, matrices: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Write named float arrays and string metadata, atomically; equal content, equal bytes."""
    arrays = {name: np.ascontiguousarray(array) for name, array in matrices.items()}
    with finished(path) as temporary:
        save_file(arrays, temporary, metadata=dict(metadata))
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
                "delete the file to compute it again"
            )


def read_matrices(path: Path, expected: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Read the arrays of `path` after checking that its metadata says what `expected` says.

    Raises StateError naming the file, the field and both values when they differ.
    """
    with safe_open(path, framework="numpy") as stream:
        check_metadata(path, stream.metadata(), expected)
        return {name: stream.get_tensor(name) for name in stream.keys()}


class LazyMatrices(Mapping):
    """The matrices `{prefix}{layer}` of a file by layer, each read when it is asked for.

    Raises StateError where the file's metadata, a layer or a shape is not the expected one.
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
        with safe_open(path, framework="numpy") as stream:
            check_metadata(path, stream.metadata(), expected)
            for layer in layers:
                name = f"{prefix}{layer}"
                if name not in stream.keys():
                    raise StateError(f"{path}: no {name}; delete the file to compute it again")
                shape = stream.get_slice(name).get_shape()
                if shape != [width, width]:
                    raise StateError(
                        f"{path}: {name} has shape {shape}, the model's keys need "
                        f"[{width}, {width}]; delete the file to compute it again"
                    )

    def __getitem__(self, layer: int) -> np.ndarray:
        with safe_open(self.path, framework="numpy") as stream:
            return stream.get_tensor(f"{self.prefix}{layer}")

    def __iter__(self) -> Iterator[int]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)
