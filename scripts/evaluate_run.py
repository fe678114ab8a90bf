"""Metrics of one run, from its raw scores alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from modeledit.evaluation.metrics import Measured, Scoring, measured_run, read_scores
from modeledit.evaluation.schemas import EDITS, REQUEST_VALUES
from modeledit.io.frames import write_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.study.layout import RunKey
from modeledit.study.methods import METHODS
from modeledit.study.switches import Switches


@dataclass(frozen=True)
class Inputs:
    """Scores of the unedited model, and scores and logs of k = 1, 2, ..."""

    unedited: Path
    scores: Sequence[Path]
    edits: Sequence[Path]


def evaluate_run(
    run: RunKey, inputs: Inputs, switches: Switches, metrics: Path, requests: Path
) -> None:
    """Write the metrics of a run by iteration, and those of each of its requests."""
    scoring = Scoring.of(switches)
    unedited = read_scores(inputs.unedited)
    measured = {0: Measured.of(unedited, None, scoring)} if len(unedited) else {}
    for k, path in enumerate(inputs.scores, start=1):
        scores = read_scores(path)  # one iteration's at a time: they are large
        if measured and len(scores):
            measured[k] = Measured.of(scores, unedited, scoring)
    rows = measured_run(
        measured,
        {k: EDITS.read(path) for k, path in enumerate(inputs.edits, start=1)},
        run=run,
        scoring=scoring,
        sequential=METHODS[run.method].write == "rank_one",
    )
    write_csv(metrics, rows)
    every = [one.requests.assign(k=k) for k, one in measured.items()]
    REQUEST_VALUES.write(requests, pd.concat(every, ignore_index=True))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, at = snakemake.input, snakemake.wildcards
        evaluate_run(
            RunKey(at.dataset, at.model, at.method, int(at.trial)),
            Inputs(
                Path(given.unedited),
                [Path(path) for path in given.scores],
                [Path(path) for path in given.edits],
            ),
            snakemake.params.switches,
            Path(snakemake.output.metrics),
            Path(snakemake.output.requests),
        )
