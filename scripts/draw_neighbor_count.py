"""What the number of neighbors in the loss does, from the metrics of all runs."""

from modeledit.evaluation.aggregation import at_stop, read_metrics
from modeledit.io.log import journal
from modeledit.presentation.figures.neighbor_count import figure_neighbor_count
from modeledit.presentation.wording import describe_dataset, small_model_note
from modeledit.study.stopping import Rule

with journal(snakemake.log[0]):
    switches, wildcards = snakemake.params.switches, snakemake.wildcards
    metrics = read_metrics(snakemake.input[0])
    of_model = (metrics["dataset"] == wildcards.dataset) & (metrics["model"] == wildcards.model)
    stops = at_stop(
        metrics[of_model],
        Rule(switches["stop_row"], snakemake.params.epsilon),
        trial_agg=switches["trial_score"],
        round_per_trial=switches["round_per_trial"],
        zeros=switches["score_zeros"],
    )
    figure_neighbor_count(
        stops,
        snakemake.output.figure,
        algorithm=wildcards.algorithm,
        title=f"{wildcards.algorithm} on {snakemake.params.titles[wildcards.model]}, "
        f"{describe_dataset(wildcards.dataset)}",
        note=small_model_note(snakemake.params.small),
    )
