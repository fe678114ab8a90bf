"""All runs' metrics in one file, and what each stopping criterion picks."""

from pathlib import Path

from modeledit.evaluation.aggregation import pick_table, read_metrics
from modeledit.io.files import finished
from modeledit.io.log import journal
from modeledit.study.stopping import Rule

with journal(snakemake.log[0]):
    metrics = read_metrics(snakemake.input)
    with finished(Path(snakemake.output.metrics)) as path:
        metrics.to_csv(path, index=False)
    rule = Rule(snakemake.params.stop_row, snakemake.params.epsilon)
    with finished(Path(snakemake.output.picks)) as path:
        pick_table(metrics, rule).to_csv(path, index=False)
