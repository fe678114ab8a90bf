"""Metrics and |dp| by iteration, a line for each method of a dataset and model."""

import logging
from pathlib import Path

from modeledit.evaluation.aggregation import Averaging, read_metrics
from modeledit.io.files import optional_path
from modeledit.io.frames import read_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.figures.subject import Subject
from modeledit.presentation.figures.trajectories import figure_trajectories, trajectories
from modeledit.presentation.wording import small_model_note

log = logging.getLogger("modeledit")


def draw_trajectories(
    metrics: Path,
    intervals: Path | None,
    subject: Subject,
    averaging: Averaging,
    figure: Path,
) -> None:
    """Draw the figure, with PDF and record beside it; without `intervals` no bands."""
    around = None if intervals is None else subject.rows(read_csv(intervals))
    found = trajectories(subject.rows(read_metrics(metrics)), around, averaging)
    figure_trajectories(
        found, figure, epsilon=averaging.rule.epsilon, title=subject.place, note=subject.note
    )
    log.info("%s", ", ".join(f"{method}: stop {one.stop_text}" for method, one in found.items()))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params, at = snakemake.input, snakemake.params, snakemake.wildcards
        draw_trajectories(
            Path(given.metrics),
            optional_path(given.get("intervals")),
            Subject(
                at.dataset, at.model, "", params.titles[at.model], small_model_note(params.small)
            ),
            Averaging.of(params.switches, params.epsilon),
            Path(snakemake.output.figure),
        )
