"""The null spaces of a model as a table: LaTeX, HTML, Markdown and CSV."""

from pathlib import Path

from modeledit.evaluation.schemas import NULL_SPACES
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation import null_space_table
from modeledit.presentation.table_files import write_frame
from modeledit.presentation.typesetting import TableFiles


def render_null_space(
    summary: Path, model: str, title: str, small: list[str], outputs: TableFiles
) -> None:
    """Write the table of `summary`, a null_spaces.csv; `small` names a small model."""
    rows = NULL_SPACES.read_csv(summary)
    table = null_space_table.cells(rows)
    words = (
        null_space_table.caption(title, rows),
        f"tab:null-space-{model}",
        null_space_table.note(small),
    )
    write_frame(outputs, rows, table, *words, null_space_table.NUMBERS)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        render_null_space(
            Path(snakemake.input.summary),
            snakemake.wildcards.model,
            snakemake.params.title,
            snakemake.params.small,
            TableFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
        )
