"""Table 5: what the jobs ran on, beside the paper's GPUs."""

from collections.abc import Mapping
from pathlib import Path

from modeledit.io.frames import read_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.paper.published import read_hardware
from modeledit.presentation.hardware_table import CAPTION, NOTE, NUMBERS, summary
from modeledit.presentation.table_files import write_frame
from modeledit.presentation.typesetting import TableFiles
from modeledit.presentation.wording import describe_dataset

LABEL = "tab:hardware"


def render_hardware(
    hardware: Path, published: Path, titles: Mapping[str, str], outputs: TableFiles
) -> None:
    """Write the table of `hardware`, a hardware.csv; `published` is the folder of the paper's."""
    jobs = read_csv(hardware)
    described = {name: describe_dataset(name) for name in jobs["dataset"].unique()}
    table = summary(jobs, read_hardware(published), titles, described)
    write_frame(outputs, table, table, CAPTION, LABEL, NOTE, NUMBERS)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        render_hardware(
            Path(snakemake.input.hardware),
            Path(snakemake.input.published).parent,
            snakemake.params.titles,
            TableFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
        )
