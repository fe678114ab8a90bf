"""What holds and what is forgotten while batches are edited one after another."""

from pathlib import Path

from modeledit.evaluation.aggregation import Averaging
from modeledit.evaluation.sequences import over_trials, read_sequences
from modeledit.io.frames import read_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.figures.sequence import Measure, Sequences, figure_sequence
from modeledit.presentation.figures.subject import Subject
from modeledit.presentation.wording import small_model_note


def draw_sequence(
    sequences: Path,
    intervals: Path,
    subject: Subject,
    size: int,
    measure: Measure,
    averaging: Averaging,
    figure: Path,
) -> None:
    """Draw the sequences in batches of `size` of the subject's dataset and model, with PDF and
    record beside `figure`."""
    rows, around = subject.rows(read_sequences([sequences])), subject.rows(read_csv(intervals))
    figure_sequence(
        Sequences(
            over_trials(rows[rows["size"] == size], averaging),
            around[around["size"] == size],
            measure,
        ),
        figure,
        title=subject.title,
        note=subject.note,
    )


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params, at = snakemake.input, snakemake.params, snakemake.wildcards
        note, name = small_model_note(params.small), f"Batches of {at.size}"
        draw_sequence(
            Path(given.sequences),
            Path(given.intervals),
            Subject(at.dataset, at.model, name, params.titles[at.model], note),
            int(at.size),
            params.measure,
            Averaging.of(params.switches, params.epsilon),
            Path(snakemake.output.figure),
        )
