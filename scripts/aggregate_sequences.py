"""All sequences of batches in one file, with intervals around their fractions."""

import logging
from collections.abc import Sequence
from pathlib import Path

from modeledit.evaluation.metrics import Zeros
from modeledit.evaluation.resampling import Resampling
from modeledit.evaluation.sequence_intervals import sequence_intervals
from modeledit.evaluation.sequences import read_sequences, read_values
from modeledit.io.frames import write_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed

log = logging.getLogger("modeledit")


def aggregate_sequences(
    metrics: Sequence[Path],
    requests: Sequence[Path],
    zeros: Zeros,
    seed: int,
    sequences: Path,
    intervals: Path,
) -> None:
    """Gather the `metrics` of sequences in `sequences`; `requests` are their requests' values."""
    write_csv(sequences, read_sequences(metrics))
    around = sequence_intervals(read_values(requests), zeros=zeros, resampling=Resampling(seed))
    log.info("%d intervals", len(around))
    write_csv(intervals, around)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params = snakemake.input, snakemake.params
        aggregate_sequences(
            [Path(path) for path in given.metrics],
            [Path(path) for path in given.requests],
            params.zeros,
            params.seed,
            Path(snakemake.output.sequences),
            Path(snakemake.output.intervals),
        )
