"""Table 5: what the jobs ran on, beside the paper's GPUs."""

from collections.abc import Mapping
from pathlib import Path

from modeledit.io.files import write_text
from modeledit.io.frames import read_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.paper.published import read_hardware
from modeledit.presentation.hardware_table import CAPTION, NOTE, summary
from modeledit.presentation.markdown import frame_to_markdown
from modeledit.presentation.typesetting import TableFiles, frame_to_html, frame_to_latex
from modeledit.presentation.wording import describe_dataset

LABEL = "tab:hardware"


def render_hardware(
    hardware: Path, published: Path, titles: Mapping[str, str], outputs: TableFiles
) -> None:
    """Write the table of `hardware`, a hardware.csv; `published` is the folder of the paper's."""
    jobs = read_csv(hardware)
    described = {name: describe_dataset(name) for name in jobs["dataset"].unique()}
    table = summary(jobs, read_hardware(published), titles, described)
    write_text(outputs.tex, frame_to_latex(table, CAPTION, LABEL, NOTE))
    write_text(outputs.html, frame_to_html(table, CAPTION, LABEL, NOTE))
    write_text(outputs.md, frame_to_markdown(table, CAPTION, LABEL, NOTE))
    write_text(outputs.csv, table.to_csv(index=False))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        render_hardware(
            Path(snakemake.input.hardware),
            Path(snakemake.input.published).parent,
            snakemake.params.titles,
            TableFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
        )
