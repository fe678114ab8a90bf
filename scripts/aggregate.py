"""All runs' metrics in one file, and what each stopping criterion picks."""

from pathlib import Path

from modeledit.aggregation import picks, read_metrics
from modeledit.files import finished
from modeledit.journal import journal

with journal(snakemake.log[0]):
    metrics = read_metrics(snakemake.input)
    with finished(Path(snakemake.output.metrics)) as path:
        metrics.to_csv(path, index=False)
    with finished(Path(snakemake.output.picks)) as path:
        picks(metrics, snakemake.params.epsilon).to_csv(path, index=False)
