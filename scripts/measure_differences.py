"""Intervals around all means, and paired tests of what differs on the same edits."""

import logging
from collections.abc import Sequence
from pathlib import Path

from modeledit.evaluation import significance
from modeledit.evaluation.aggregation import read_metrics
from modeledit.evaluation.metrics import Zeros
from modeledit.evaluation.request_values import read_requests
from modeledit.evaluation.resampling import Resampling
from modeledit.io.frames import write_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.study.stopping import Rule

log = logging.getLogger("modeledit")


def measure_differences(
    metrics: Path,
    requests: Sequence[Path],
    rule: Rule,
    zeros: Zeros,
    seed: int,
    intervals: Path,
    differences: Path,
) -> None:
    """Write `intervals` and `differences`; `requests` are the runs' values of single edits."""
    of_runs, of_edits = read_metrics(metrics), read_requests(requests)
    drawn = Resampling(seed)
    around = significance.intervals(of_edits, of_runs, rule=rule, zeros=zeros, resampling=drawn)
    tested = significance.differences(of_edits, of_runs, rule=rule, zeros=zeros, resampling=drawn)
    log.info("%d intervals, %d tests", len(around), len(tested))
    write_csv(intervals, around)
    write_csv(differences, tested)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params = snakemake.input, snakemake.params
        measure_differences(
            Path(given.metrics),
            [Path(path) for path in given.requests],
            Rule(params.stop_row, params.epsilon),
            params.zeros,
            params.seed,
            Path(snakemake.output.intervals),
            Path(snakemake.output.differences),
        )
