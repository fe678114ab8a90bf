"""One table of the paper: LaTeX, HTML, Markdown and CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeledit.evaluation.aggregation import Averaging, read_metrics
from modeledit.io.files import optional_path, write_text
from modeledit.io.frames import read_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.footnotes import difference_notes, stage_notes
from modeledit.presentation.markdown import to_markdown
from modeledit.presentation.tables import Selection, Words, build
from modeledit.presentation.typesetting import TableFiles, to_csv, to_html, to_latex
from modeledit.presentation.wording import describe_dataset, small_model_note
from modeledit.study.switches import Switches


@dataclass(frozen=True)
class Content:
    """Which table, of which dataset, with which rows, (model, method), there or not.

    `titles` are the models' printed names, `small` those of models that the paper does not use.
    """

    table: str
    dataset: str
    planned: Sequence[tuple[str, str]]
    titles: Mapping[str, str]
    small: Sequence[str]


def render_table(
    content: Content,
    metrics: Path,
    differences: Path | None,
    epsilon: float,
    switches: Switches,
    outputs: TableFiles,
) -> None:
    """Write one table in its four forms; `differences` say which of those that it shows hold."""
    averaging = Averaging.of(switches, epsilon)
    rows = read_metrics(metrics)
    of_dataset = rows[rows["dataset"] == content.dataset]
    tested = read_csv(differences) if differences else None
    footnotes = [
        *difference_notes(content.table, content.dataset, tested, content.titles),
        *stage_notes(content.table, of_dataset, content.titles, averaging),
    ]
    table = build(
        content.table,
        rows,
        Selection(content.dataset, planned=content.planned),
        averaging,
        Words(
            describe_dataset(content.dataset),
            content.titles,
            note=small_model_note(content.small),
            footnotes=footnotes,
        ),
    )
    write_text(outputs.tex, to_latex(table))
    write_text(outputs.html, to_html(table))
    write_text(outputs.md, to_markdown(table))
    write_text(outputs.csv, to_csv(table))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params, at = snakemake.input, snakemake.params, snakemake.wildcards
        render_table(
            Content(at.table, at.dataset, params.planned, params.titles, params.small),
            Path(given.metrics),
            optional_path(given.get("differences")),
            params.epsilon,
            params.switches,
            TableFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
        )
