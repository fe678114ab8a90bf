"""What every iteration ran on, in one file."""

from collections.abc import Sequence
from pathlib import Path

from modeledit.io.frames import write_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.hardware_table import gather


def gather_hardware(iterations: Sequence[Path], output: Path) -> None:
    """Gather the hardware.json of `iterations`."""
    write_csv(output, gather(iterations))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        gather_hardware([Path(path) for path in snakemake.input], Path(snakemake.output[0]))
