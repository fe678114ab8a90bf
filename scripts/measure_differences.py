"""Intervals around all means, and paired tests of what differs on the same edits."""

from pathlib import Path

from modeledit.evaluation.aggregation import read_metrics
from modeledit.evaluation.request_values import read_requests
from modeledit.evaluation.resampling import Resampling
from modeledit.evaluation.significance import differences, intervals
from modeledit.io.files import finished
from modeledit.io.log import journal
from modeledit.study.stopping import Rule

with journal(snakemake.log[0]) as log:
    metrics = read_metrics(snakemake.input.metrics)
    requests = read_requests(snakemake.input.requests)
    options = {
        "rule": Rule(snakemake.params.stop_row, snakemake.params.epsilon),
        "zeros": snakemake.params.zeros,
        "resampling": Resampling(snakemake.params.seed),
    }
    around = intervals(requests, metrics, **options)
    tested = differences(requests, metrics, **options)
    log.info("%d intervals, %d tests", len(around), len(tested))
    for table, output in (
        (around, snakemake.output.intervals),
        (tested, snakemake.output.differences),
    ):
        with finished(Path(output)) as path:
            table.to_csv(path, index=False)
