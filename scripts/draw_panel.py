"""Figure 1: what the model says about one edit of trial 1 before and after editing."""

from pathlib import Path

from modeledit.data.requests import read_requests
from modeledit.evaluation.aggregation import read_metrics
from modeledit.io.log import journal
from modeledit.presentation.figures.qualitative import (
    Stage,
    figure_qualitative,
    read_answers,
    run_stages,
)
from modeledit.presentation.wording import describe_dataset, small_model_note
from modeledit.study.layout import RunKey
from modeledit.study.stopping import Rule

with journal(snakemake.log[0]) as log:
    inputs, params, wildcards = snakemake.input, snakemake.params, snakemake.wildcards
    metrics = read_metrics(inputs.metrics)
    rule = Rule(params.stop_row, params.epsilon)
    place = (wildcards.dataset, wildcards.model)
    stages = [Stage("Unedited", read_answers(inputs.unedited))]
    if plain := inputs.get("plain"):
        stages += run_stages(metrics, RunKey(*place, wildcards.algorithm, 1), plain, rule)
    if neighbor := inputs.get("neighbor"):
        run = RunKey(*place, params.neighbor, 1)
        stages += run_stages(metrics, run, neighbor, rule)[-1:]
    record = figure_qualitative(
        read_requests(Path(inputs.requests)),
        stages,
        snakemake.output.figure,
        title=f"{params.titles[wildcards.model]}, {describe_dataset(wildcards.dataset)}",
        note=small_model_note(params.small),
    )
    log.info("request %d (%s): %s", record["request"], record["why"], record["label"])
