"""What iterating does with both stages, and with one alone, from the metrics of all runs."""

from modeledit.evaluation.aggregation import Averaging, read_metrics
from modeledit.io.log import journal
from modeledit.presentation.figures.stages import figure_stages, study
from modeledit.presentation.wording import describe_dataset, small_model_note

with journal(snakemake.log[0]):
    wildcards = snakemake.wildcards
    metrics = read_metrics(snakemake.input[0])
    of_model = (metrics["dataset"] == wildcards.dataset) & (metrics["model"] == wildcards.model)
    found = study(
        metrics[of_model],
        wildcards.algorithm,
        Averaging.of(snakemake.params.switches, snakemake.params.epsilon),
    )
    figure_stages(
        found,
        snakemake.output.figure,
        algorithm=wildcards.algorithm,
        title=f"{wildcards.algorithm} on {snakemake.params.titles[wildcards.model]}, "
        f"{describe_dataset(wildcards.dataset)}",
        note=small_model_note(snakemake.params.small),
    )
