"""The behavior of all runs' models: values with intervals, and paired tests."""

import logging
from collections.abc import Sequence
from pathlib import Path

from modeledit.evaluation.behavior import paired_tests, pooled, read_values
from modeledit.evaluation.resampling import Resampling
from modeledit.io.frames import write_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed

log = logging.getLogger("modeledit")


def aggregate_behavior(values: Sequence[Path], seed: int, behavior: Path, tests: Path) -> None:
    """Write `behavior` and `tests`; `values` are the runs' behavior.parquet."""
    found, drawn = read_values(values), Resampling(seed)
    rows, tested = pooled(found, drawn), paired_tests(found, drawn)
    log.info("%d values, %d tests", len(rows), len(tested))
    write_csv(behavior, rows)
    write_csv(tests, tested)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        aggregate_behavior(
            [Path(path) for path in snakemake.input],
            snakemake.params.seed,
            Path(snakemake.output.behavior),
            Path(snakemake.output.tests),
        )
