"""The table of what models of one dataset say: LaTeX, HTML, Markdown and CSV."""

from collections.abc import Mapping
from pathlib import Path

from modeledit.evaluation.schemas import BEHAVIOR, BEHAVIOR_TESTS
from modeledit.io.files import write_text
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.behavior_table import CAPTION, build
from modeledit.presentation.markdown import frame_to_markdown
from modeledit.presentation.typesetting import TableFiles, frame_to_html, frame_to_latex
from modeledit.presentation.wording import describe_dataset, small_model_note

LABEL = "tab:behavior"


def render_behavior(
    dataset: str,
    behavior: Path,
    tests: Path,
    titles: Mapping[str, str],
    note: str,
    outputs: TableFiles,
) -> None:
    """Write the table of `dataset`; `titles` are the models' printed names, `note` stands below."""
    rows, tested = BEHAVIOR.read_csv(behavior), BEHAVIOR_TESTS.read_csv(tests)
    own = tested[tested["dataset"] == dataset]
    table = build(rows[rows["dataset"] == dataset], own, titles, note)
    caption = CAPTION.format(dataset=describe_dataset(dataset))
    shown = (table.printed, caption, LABEL, table.note, table.numbers)
    write_text(outputs.tex, frame_to_latex(*shown))
    write_text(outputs.html, frame_to_html(*shown))
    write_text(outputs.md, frame_to_markdown(*shown))
    write_text(outputs.csv, table.rows.to_csv(index=False, lineterminator="\n"))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params = snakemake.input, snakemake.params
        render_behavior(
            snakemake.wildcards.dataset,
            Path(given.behavior),
            Path(given.tests),
            params.titles,
            small_model_note(params.small),
            TableFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
        )
