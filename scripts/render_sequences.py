"""The table of sequences of batches of one dataset: LaTeX, HTML, Markdown and CSV."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modeledit.evaluation.aggregation import Averaging
from modeledit.evaluation.sequences import read_sequences
from modeledit.io.frames import read_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.sequence_table import CAPTION, NUMBERS, build
from modeledit.presentation.table_files import write_frame
from modeledit.presentation.typesetting import TableFiles
from modeledit.presentation.wording import describe_dataset, small_model_note

LABEL = "tab:sequence"


@dataclass(frozen=True)
class Inputs:
    """sequences.csv and sequence_comparison.csv."""

    sequences: Path
    comparison: Path


def render_sequences(
    dataset: str,
    inputs: Inputs,
    titles: Mapping[str, str],
    note: str,
    averaging: Averaging,
    outputs: TableFiles,
) -> None:
    """Write the table of `dataset`; `titles` are the models' printed names, `note` stands below."""
    rows = read_sequences([inputs.sequences])
    table = build(
        rows[rows["dataset"] == dataset], read_csv(inputs.comparison), titles, averaging, note
    )
    caption = CAPTION.format(dataset=describe_dataset(dataset))
    shown = (table.printed, caption, LABEL, table.note, NUMBERS)
    write_frame(outputs, table.rows, *shown)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params = snakemake.input, snakemake.params
        render_sequences(
            snakemake.wildcards.dataset,
            Inputs(Path(given.sequences), Path(given.comparison)),
            params.titles,
            small_model_note(params.small),
            Averaging.of(params.switches, params.epsilon),
            TableFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
        )
