"""What the number of neighbors does, or each stage alone, from the metrics of all runs."""

from pathlib import Path
from typing import Literal

from modeledit.evaluation.aggregation import Averaging, at_stop, read_metrics
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.figures.neighbor_count import figure_neighbor_count
from modeledit.presentation.figures.stages import figure_stages, study
from modeledit.presentation.figures.subject import Subject
from modeledit.presentation.wording import small_model_note
from modeledit.study.switches import Switches


def draw_study(
    kind: Literal["neighbor_count", "stages"],
    metrics: Path,
    subject: Subject,
    epsilon: float,
    switches: Switches,
    figure: Path,
) -> None:
    """Draw the study of the subject's algorithm, with PDF and record beside `figure`."""
    rows, averaging = subject.rows(read_metrics(metrics)), Averaging.of(switches, epsilon)
    words = {"algorithm": subject.name, "title": subject.title, "note": subject.note}
    if kind == "stages":
        figure_stages(study(rows, subject.name, averaging), figure, **words)
    else:
        figure_neighbor_count(at_stop(rows, averaging), figure, **words)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params, at = snakemake.params, snakemake.wildcards
        note = small_model_note(params.small)
        draw_study(
            params.kind,
            Path(snakemake.input[0]),
            Subject(at.dataset, at.model, at.algorithm, params.titles[at.model], note),
            params.epsilon,
            params.switches,
            Path(snakemake.output.figure),
        )
