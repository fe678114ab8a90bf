"""Figure 1: what the model says about one edit of trial 1 before and after editing."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modeledit.data.requests import read_requests
from modeledit.evaluation.aggregation import read_metrics
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.figures.qualitative import (
    Stage,
    figure_qualitative,
    read_answers,
    run_stages,
)
from modeledit.presentation.figures.subject import Subject
from modeledit.presentation.wording import small_model_note
from modeledit.study.layout import RunKey
from modeledit.study.stopping import Rule

log = logging.getLogger("modeledit")


@dataclass(frozen=True)
class Inputs:
    """All metrics, and of trial 1 the requests and the scores.

    `plain` are scores of the algorithm by iteration, `neighbor` those of the neighbor-assisted
    method; either may be empty.
    """

    metrics: Path
    requests: Path
    unedited: Path
    plain: Sequence[Path] = ()
    neighbor: Sequence[Path] = ()


def draw_panel(
    inputs: Inputs, subject: Subject, assisted: str | None, rule: Rule, figure: Path
) -> None:
    """Draw the panel; `assisted` is the neighbor-assisted method beside the subject's algorithm."""
    metrics = read_metrics(inputs.metrics)
    stages = [Stage("Unedited", read_answers(inputs.unedited))]
    if inputs.plain:
        run = RunKey(subject.dataset, subject.model, subject.name, 1)
        stages += run_stages(metrics, run, inputs.plain, rule)
    if inputs.neighbor and assisted:
        run = RunKey(subject.dataset, subject.model, assisted, 1)
        stages += run_stages(metrics, run, inputs.neighbor, rule)[-1:]
    record = figure_qualitative(
        read_requests(inputs.requests), stages, figure, title=subject.place, note=subject.note
    )
    log.info("request %d (%s): %s", record["request"], record["why"], record["label"])


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params, at = snakemake.input, snakemake.params, snakemake.wildcards
        note = small_model_note(params.small)
        draw_panel(
            Inputs(
                Path(given.metrics),
                Path(given.requests),
                Path(given.unedited),
                [Path(path) for path in given.get("plain", [])],
                [Path(path) for path in given.get("neighbor", [])],
            ),
            Subject(at.dataset, at.model, at.algorithm, params.titles[at.model], note),
            params.neighbor,
            Rule(params.stop_row, params.epsilon),
            Path(snakemake.output.figure),
        )
