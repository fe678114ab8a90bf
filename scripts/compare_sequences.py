"""Sequences of batches beside the published numbers of such."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modeledit.evaluation.aggregation import Averaging
from modeledit.evaluation.sequences import over_trials, read_sequences
from modeledit.io.frames import read_csv, write_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.paper import published, sequence_comparison
from modeledit.paper.sequence_comparison import Ours
from modeledit.study.switches import Switches

log = logging.getLogger("modeledit")


@dataclass(frozen=True)
class Inputs:
    """What was measured, and the folder of what was published."""

    sequences: Path
    intervals: Path
    published: Path


def compare_sequences(
    inputs: Inputs,
    sources: Mapping[str, str],
    epsilon: float,
    switches: Switches,
    output: Path,
) -> None:
    """Write a verdict on each published cell; `sources` say where each dataset comes from."""
    averaging = Averaging.of(switches, epsilon)
    means = over_trials(read_sequences([inputs.sequences]), averaging)
    ours = Ours(means, read_csv(inputs.intervals), switches, sources)
    found = sequence_comparison.compare_sequences(ours, published.read_sequences(inputs.published))
    log.info("\n%s", found["verdict"].value_counts().to_string())
    write_csv(output, found)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params = snakemake.input, snakemake.params
        compare_sequences(
            Inputs(Path(given.sequences), Path(given.intervals), Path(given.anchors).parent),
            params.sources,
            params.epsilon,
            params.switches,
            Path(snakemake.output[0]),
        )
