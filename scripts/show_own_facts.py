"""What became of facts of one's own: a page, a table for the terminal, and the numbers."""

from dataclasses import dataclass
from pathlib import Path

from modeledit.io.files import write_text
from modeledit.io.frames import write_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.own_facts import Sources, read_outcome
from modeledit.presentation.own_facts_page import render_page, render_text, to_frame
from modeledit.study.own_facts import Study


@dataclass(frozen=True)
class Outputs:
    """The same in three forms."""

    page: Path
    text: Path
    numbers: Path


def show_own_facts(sources: Sources, study: Study, outputs: Outputs) -> None:
    """Write the page, the text and the numbers."""
    outcome = read_outcome(sources, study)
    write_text(outputs.page, render_page(outcome))
    write_text(outputs.text, render_text(outcome))
    write_csv(outputs.numbers, to_frame(outcome))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given = snakemake.input
        single = ("facts", "trial", "requests", "verdicts", "unedited", "panel", "panel_after")
        show_own_facts(
            Sources(
                scores=[Path(path) for path in given.scores],
                states=[Path(path) for path in given.states],
                **{name: Path(given[name]) for name in single},
            ),
            snakemake.params.study,
            Outputs(**{name: Path(path) for name, path in snakemake.output.items()}),
        )
