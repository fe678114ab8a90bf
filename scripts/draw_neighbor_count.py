"""What the number of neighbors in the loss does, from the metrics of all runs."""

from modeledit.evaluation.aggregation import Averaging, at_stop, read_metrics
from modeledit.io.log import journal
from modeledit.presentation.figures.neighbor_count import figure_neighbor_count
from modeledit.presentation.wording import describe_dataset, small_model_note

with journal(snakemake.log[0]):
    wildcards = snakemake.wildcards
    metrics = read_metrics(snakemake.input[0])
    of_model = (metrics["dataset"] == wildcards.dataset) & (metrics["model"] == wildcards.model)
    averaging = Averaging.of(snakemake.params.switches, snakemake.params.epsilon)
    stops = at_stop(metrics[of_model], averaging)
    figure_neighbor_count(
        stops,
        snakemake.output.figure,
        algorithm=wildcards.algorithm,
        title=f"{wildcards.algorithm} on {snakemake.params.titles[wildcards.model]}, "
        f"{describe_dataset(wildcards.dataset)}",
        note=small_model_note(snakemake.params.small),
    )
