"""What iterating AlphaEdit comes to, with and without its own keys, beside a smaller L2."""

import logging
from collections.abc import Sequence
from pathlib import Path

from modeledit.evaluation.aggregation import Averaging, read_metrics
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.figures.subject import Subject
from modeledit.presentation.figures.telescoping import curves, figure_telescoping, residuals
from modeledit.presentation.wording import small_model_note

log = logging.getLogger("modeledit")


def draw_telescoping(
    metrics: Path, edits: Sequence[Path], subject: Subject, averaging: Averaging, figure: Path
) -> None:
    """Draw the figure, with PDF and record beside it."""
    found = curves(subject.rows(read_metrics(metrics)), residuals(edits), averaging)
    record = figure_telescoping(found, figure, title=subject.title, note=subject.note)
    log.info("%s", record["says"] or "no iteration that all lines share")


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params, at = snakemake.params, snakemake.wildcards
        note = small_model_note(params.small)
        draw_telescoping(
            Path(snakemake.input.metrics),
            [Path(path) for path in snakemake.input.edits],
            Subject(at.dataset, at.model, "AlphaEdit", params.titles[at.model], note),
            Averaging.of(params.switches, params.epsilon),
            Path(snakemake.output.figure),
        )
