"""What models say, write and keep before the edit, after k = 1 and at the stop."""

from pathlib import Path

from modeledit.evaluation.schemas import BEHAVIOR
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.figures.behavior import figure_behavior
from modeledit.presentation.figures.subject import Subject
from modeledit.presentation.wording import small_model_note


def draw_behavior(behavior: Path, subject: Subject, figure: Path) -> None:
    """Draw the subject's dataset and model from `behavior`, with PDF and record beside `figure`."""
    rows = subject.rows(BEHAVIOR.read_csv(behavior))
    figure_behavior(rows, figure, title=subject.title, note=subject.note)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params, at = snakemake.params, snakemake.wildcards
        note, name = small_model_note(params.small), "What models say"
        draw_behavior(
            Path(snakemake.input.behavior),
            Subject(at.dataset, at.model, name, params.titles[at.model], note),
            Path(snakemake.output.figure),
        )
