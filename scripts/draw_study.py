"""What the number of neighbors does, or each stage alone, from the metrics of all runs."""

from pathlib import Path
from typing import Literal

from modeledit.evaluation.aggregation import at_stop, read_metrics
from modeledit.io.log import journal
from modeledit.presentation.figures.neighbor_count import figure_neighbor_count
from modeledit.presentation.figures.stages import figure_stages, study
from modeledit.presentation.figures.subject import Subject
from modeledit.presentation.wording import small_model_note
from modeledit.study.stopping import Rule
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
    rows, rule = subject.rows(read_metrics(metrics)), Rule(switches.stop_row, epsilon)
    means = {
        "trial_agg": switches.trial_score,
        "round_per_trial": switches.round_per_trial,
        "zeros": switches.score_zeros,
    }
    words = {"algorithm": subject.name, "title": subject.title, "note": subject.note}
    if kind == "stages":
        figure_stages(study(rows, subject.name, rule, **means), figure, **words)
    else:
        figure_neighbor_count(at_stop(rows, rule, **means), figure, **words)


if __name__ == "__main__":
    with journal(snakemake.log[0]):
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
