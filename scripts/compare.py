"""Every published cell of the paper's tables beside ours, and how many of them agree."""

from pathlib import Path

from modeledit.evaluation.aggregation import Averaging, read_metrics
from modeledit.io.files import finished
from modeledit.io.frames import read_csv
from modeledit.io.log import journal
from modeledit.paper import published
from modeledit.paper.comparison import compare, summary

with journal(snakemake.log[0]) as log:
    intervals = snakemake.input.get("intervals")
    folder = Path(snakemake.input.tables).parent
    comparison = compare(
        read_metrics(snakemake.input.metrics),
        published.read_tables(folder),
        published.read_suspects(folder),
        comparable=snakemake.params.comparable,
        averaging=Averaging.of(snakemake.params.switches, snakemake.params.epsilon),
        sources=snakemake.params.sources,
        intervals=read_csv(intervals) if intervals else None,
    )
    counts = summary(comparison)
    log.info("\n%s", counts.to_string(index=False))
    for path, frame in (
        (snakemake.output.comparison, comparison),
        (snakemake.output.summary, counts),
    ):
        with finished(Path(path)) as temporary:
            frame.to_csv(temporary, index=False)
