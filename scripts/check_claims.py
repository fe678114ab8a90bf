"""Each of the paper's claims against our metrics and against its own printed rows."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeledit.evaluation.aggregation import Averaging, read_metrics
from modeledit.evaluation.request_values import read_requests
from modeledit.io.frames import write_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.paper import claims
from modeledit.paper.published import as_metrics, read_tables
from modeledit.study.switches import Switches

log = logging.getLogger("modeledit")
TREND_TABLES = (6, 7, 8, 9)  # the published tables that have every iteration


@dataclass(frozen=True)
class Inputs:
    """What was measured, and the folder of what the paper printed."""

    metrics: Path
    requests: Sequence[Path]
    edits: Sequence[Path]
    published: Path


def check_claims(
    inputs: Inputs,
    small: Sequence[str],
    titles: Mapping[str, str],
    epsilon: float,
    switches: Switches,
    output: Path,
) -> None:
    """Write a verdict on each claim; `small` are the models that the paper does not use."""
    found = claims.check_claims(
        read_metrics(inputs.metrics),
        read_requests(inputs.requests, inputs.edits),
        small=small,
        printed=as_metrics(TREND_TABLES, read_tables(inputs.published)),
        averaging=Averaging.of(switches, epsilon),
        names=titles,
    )
    log.info("%s", found.groupby(["scope", "verdict"]).size().to_string())
    write_csv(output, found)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params = snakemake.input, snakemake.params
        check_claims(
            Inputs(
                Path(given.metrics),
                [Path(path) for path in given.requests],
                [Path(path) for path in given.edits],
                Path(given.tables).parent,
            ),
            params.small,
            params.titles,
            params.epsilon,
            params.switches,
            Path(snakemake.output[0]),
        )
