"""Figure 3 (one edit's perplexity over the stages) and Figure 4 (UnderEdit edits against all)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modeledit.data.requests import read_requests
from modeledit.evaluation.metrics import underedit
from modeledit.evaluation.request_values import logs_by_trial, values_by_trial
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.figures.perplexity_stages import figure_perplexity_stages, pick_request
from modeledit.presentation.figures.subject import Subject
from modeledit.presentation.figures.underedit import figure_underedit, pool_trials
from modeledit.presentation.wording import small_model_note


@dataclass(frozen=True)
class Inputs:
    """Of one method: values and logs of all its trials, and the requests of the first."""

    values: Sequence[Path]
    logs: Sequence[Path]
    first_trial: Path


def draw_figures(
    inputs: Inputs, subject: Subject, epsilon: float, stages: Path, missed: Path
) -> None:
    """Draw Figure 3 as `stages` and Figure 4 as `missed`, PDF and record beside each."""
    values, logs = values_by_trial(inputs.values), logs_by_trial(inputs.logs)
    chosen = pick_request(logs[1], underedit(values[1][1]))
    figure_perplexity_stages(
        logs[1],
        stages,
        request=chosen,
        label={r.id: r.change for r in read_requests(inputs.first_trial)}[chosen],
        epsilon=epsilon,
        note=subject.note,
    )
    figure_underedit(
        pool_trials(values),
        pool_trials(logs),
        missed,
        epsilon=epsilon,
        title=subject.title,
        note=subject.note,
    )


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params, at = snakemake.input, snakemake.params, snakemake.wildcards
        note = small_model_note(params.small)
        draw_figures(
            Inputs(
                [Path(path) for path in given.requests],
                [Path(path) for path in given.edits],
                Path(given.first_trial),
            ),
            Subject(at.dataset, at.model, at.method, params.titles[at.model], note),
            params.epsilon,
            Path(snakemake.output.stages),
            Path(snakemake.output.underedit),
        )
