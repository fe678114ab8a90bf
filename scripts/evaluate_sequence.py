"""Metrics of one sequence of batches, from raw scores, the batches' states and weight norms."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modeledit.data.requests import read_requests
from modeledit.evaluation.metrics import Measured, Scoring, read_scores
from modeledit.evaluation.schemas import SEQUENCE_VALUES
from modeledit.evaluation.sequences import (
    Batch,
    edited_in,
    measured_sequence,
    read_norms,
    request_values,
)
from modeledit.io.frames import write_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.io.state import read_state
from modeledit.study.layout import SequenceKey
from modeledit.study.switches import Switches


@dataclass(frozen=True)
class Inputs:
    """The trial's requests and unedited scores; scores, state and norms of each of `batches`."""

    requests: Path
    unedited: Path
    batches: Sequence[int]
    scores: Sequence[Path]
    states: Sequence[Path]
    norms: Sequence[Path]


def evaluate_sequence(
    sequence: SequenceKey,
    count: int,
    inputs: Inputs,
    switches: Switches,
    metrics: Path,
    requests: Path,
) -> None:
    """Write the metrics of a sequence of `count` batches, and those of each of its requests."""
    scoring = Scoring.of(switches)
    members = edited_in([one.id for one in read_requests(inputs.requests)], sequence.size, count)
    before = read_scores(inputs.unedited)
    unedited = Measured.of(before, None, scoring)
    batches = {}
    files = zip(inputs.batches, inputs.scores, inputs.states, inputs.norms, strict=True)
    for number, scores, state, norms in files:
        # One batch's at a time: they are large.
        measured = Measured.of(read_scores(scores), before, scoring)
        batches[number] = Batch(measured, read_state(state), read_norms(norms))
    rows = measured_sequence(unedited, batches, members, sequence=sequence, scoring=scoring)
    write_csv(metrics, rows)
    SEQUENCE_VALUES.write(requests, request_values(unedited, batches, members))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params, at = snakemake.input, snakemake.params, snakemake.wildcards
        evaluate_sequence(
            SequenceKey(at.dataset, at.model, at.method, int(at.trial), int(at.size)),
            params.n_batches,
            Inputs(
                Path(given.requests),
                Path(given.unedited),
                params.batches,
                [Path(path) for path in given.scores],
                [Path(path) for path in given.states],
                [Path(path) for path in given.norms],
            ),
            params.switches,
            Path(snakemake.output.metrics),
            Path(snakemake.output.requests),
        )
