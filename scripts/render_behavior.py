"""The table of what models of one dataset say: LaTeX, HTML, Markdown and CSV."""

from collections.abc import Mapping
from pathlib import Path

from modeledit.evaluation.schemas import BEHAVIOR, BEHAVIOR_TESTS
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.behavior_table import CAPTION, build
from modeledit.presentation.table_files import write_frame
from modeledit.presentation.typesetting import TableFiles
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
    write_frame(outputs, table.rows, *shown)


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
