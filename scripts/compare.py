"""Every published cell of the paper's tables beside ours, and how many of them agree."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modeledit.evaluation.aggregation import Averaging, read_metrics
from modeledit.io.frames import read_csv, write_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.paper import comparison, published
from modeledit.study.switches import Switches

log = logging.getLogger("modeledit")


@dataclass(frozen=True)
class Inputs:
    """What was measured, and the folder of what the paper printed."""

    metrics: Path
    intervals: Path
    published: Path


def compare(
    inputs: Inputs,
    comparable: Mapping[str, bool],
    sources: Mapping[str, str],
    epsilon: float,
    switches: Switches,
    output: Path,
) -> None:
    """Write a verdict on each cell; `comparable` is by model, `sources` by dataset."""
    found = comparison.compare(
        read_metrics(inputs.metrics),
        published.read_tables(inputs.published),
        published.read_suspects(inputs.published),
        comparable=comparable,
        averaging=Averaging.of(switches, epsilon),
        sources=sources,
        intervals=read_csv(inputs.intervals),
    )
    log.info("\n%s", comparison.summary(found).to_string(index=False))
    write_csv(output, found)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params = snakemake.input, snakemake.params
        compare(
            Inputs(Path(given.metrics), Path(given.intervals), Path(given.tables).parent),
            params.comparable,
            params.sources,
            params.epsilon,
            params.switches,
            Path(snakemake.output[0]),
        )
