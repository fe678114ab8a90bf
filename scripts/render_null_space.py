"""The null spaces of a model as a table: LaTeX, HTML, Markdown and CSV."""

from pathlib import Path

from modeledit.evaluation.schemas import NULL_SPACES
from modeledit.io.files import write_text
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation import null_space_table
from modeledit.presentation.markdown import frame_to_markdown
from modeledit.presentation.typesetting import TableFiles, frame_to_html, frame_to_latex


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
    write_text(outputs.tex, frame_to_latex(table, *words))
    write_text(outputs.html, frame_to_html(table, *words))
    write_text(outputs.md, frame_to_markdown(table, *words))
    write_text(outputs.csv, rows.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        render_null_space(
            Path(snakemake.input.summary),
            snakemake.wildcards.model,
            snakemake.params.title,
            snakemake.params.small,
            TableFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
        )
