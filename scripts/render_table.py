"""One table of the paper as a LaTeX fragment and as CSV."""

from pathlib import Path

from modeledit.aggregation import read_metrics
from modeledit.files import finished
from modeledit.journal import journal
from modeledit.settings import describe_dataset, small_model_note
from modeledit.tables import build
from modeledit.typesetting import to_csv, to_latex

with journal(snakemake.log[0]):
    metrics = read_metrics(snakemake.input[0])
    dataset, switches = snakemake.wildcards.dataset, snakemake.params.switches
    table = build(
        snakemake.wildcards.table,
        metrics,
        dataset=dataset,
        dataset_name=describe_dataset(dataset),
        names=snakemake.params.titles,
        note=small_model_note(snakemake.params.small),
        epsilon=snakemake.params.epsilon,
        trial_agg=switches["trial_score"],
        round_per_trial=switches["round_per_trial"],
        zeros=switches["score_zeros"],
    )
    for path, text in (
        (snakemake.output.tex, to_latex(table)),
        (snakemake.output.csv, to_csv(table)),
    ):
        with finished(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")
