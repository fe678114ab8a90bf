"""Keys of earlier edits on disk: what each iteration wrote, and which of it a later one keeps.

Each iteration leaves its own keys in keys.safetensors, tagged with its batch and k, so that what a
method keeps in place is a choice of files (`earlier_keys`) and nothing that grows: no d_mlp x d_mlp
sum, and a killed run goes on from the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from modeledit.editing.link import Link
from modeledit.editing.matrix_names import LAYER, layer_name, layer_of
from modeledit.io.files import AGAIN, StateError
from modeledit.io.matrices import describe_matrices, read_any_matrices, write_matrices


def write_keys(path: Path, keys: Mapping[int, torch.Tensor], tags: Mapping[str, str]) -> None:
    """Write keys (m, d_mlp) by layer; `tags` say of what run, batch and k they are."""
    write_matrices(path, {layer_name(i): key.numpy() for i, key in keys.items()}, tags)


def read_keys(
    paths: Sequence[Path],
    expected: Mapping[str, str],
    layers: Sequence[int],
    width: int,
    reader: Link,
) -> dict[int, torch.Tensor]:
    """Keys (c, `width`) of all files by layer, in the order of `paths`, for the iteration `reader`.

    Iterations that came after a stop, or wrote nothing, left none. Raises StateError, naming the
    file, where one belongs to another run, was not written before `reader` and after the file in
    front of it, lacks a layer or has keys of another width.
    """
    found: dict[int, list[torch.Tensor]] = {layer: [] for layer in layers}
    latest = (0, 0)
    for path in paths:
        arrays = read_any_matrices(path, expected)
        if not arrays:
            continue
        latest = _written_between(latest, path, reader)
        if sorted(map(layer_of, arrays)) != sorted(layers):
            raise StateError(
                f"{path}: keys of {', '.join(sorted(arrays))}, this run writes layers "
                f"{', '.join(f'{LAYER}{i}' for i in sorted(layers))}; {AGAIN}"
            )
        for name, array in arrays.items():
            if array.ndim != 2 or array.shape[1] != width:
                raise StateError(
                    f"{path}: {name} has shape {list(array.shape)}, the model's keys have {width} "
                    f"entries; {AGAIN}"
                )
            found[layer_of(name)].append(torch.from_numpy(array))
    return {layer: torch.cat(parts) for layer, parts in found.items() if parts}


def _written_between(latest: tuple[int, int], path: Path, reader: Link) -> tuple[int, int]:
    """Number of the batch and k that wrote a file; StateError unless after `latest` and before
    `reader`, in batches of the same size. A run without batches counts as its first one."""
    tags = describe_matrices(path, {}).metadata
    own = reader.batch
    number, _, size = tags.get("batch", "1").partition(" of ")
    needed = str(own.size) if own else ""
    if size != needed:
        there, here = (f"batches of {n}" if n else "no batches" for n in (size, needed))
        raise StateError(f"{path}: keys of a run with {there}, this one has {here}; {AGAIN}")
    written = int(number), int(tags["k"])
    now = own.number if own else 1, reader.k
    if not latest < written < now:
        raise StateError(
            f"{path}: keys of batch {written[0]}, iteration {written[1]}, wanted are those before "
            f"batch {now[0]}, iteration {now[1]}, each once and in order; {AGAIN}"
        )
    return written
