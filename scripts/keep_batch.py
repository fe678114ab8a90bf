"""What a batch of a sequence leaves for the next one: its state, edited matrices and keys."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modeledit.io.files import finished
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.io.state import read_state


@dataclass(frozen=True)
class Inputs:
    """Of each iteration that the batch may have, in order."""

    states: Sequence[Path]
    edited: Sequence[Path]
    key_cache: Sequence[Path]


def keep_batch(inputs: Inputs, state: Path, edited: Path, key_cache: Path) -> None:
    """Copy the files of the iteration that holds the batch's weights.

    The keys are those of the last iteration that wrote something: one that collapsed has none.
    """
    held = read_state(inputs.states[-1]).held_by
    wrote = held
    while wrote > 1 and read_state(inputs.states[wrote - 1]).collapsed:
        wrote -= 1
    _copy(inputs.states[held - 1], state)
    _copy(inputs.edited[held - 1], edited)
    _copy(inputs.key_cache[wrote - 1], key_cache)


def _copy(source: Path, target: Path) -> None:
    """Copy a file, atomically."""
    with finished(target) as temporary:
        shutil.copyfile(source, temporary)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, left = snakemake.input, snakemake.output
        keep_batch(
            Inputs(
                [Path(path) for path in given.states],
                [Path(path) for path in given.edited],
                [Path(path) for path in given.key_cache],
            ),
            Path(left.state),
            Path(left.edited),
            Path(left.key_cache),
        )
