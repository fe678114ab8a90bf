"""Split a dataset into disjoint trials."""

from collections.abc import Sequence
from pathlib import Path

from modeledit.data import trials
from modeledit.data.requests import read_requests, write_requests
from modeledit.io.log import journal
from modeledit.io.refusal import Refusal
from modeledit.io.seals import sealed


def split_trials(requests: Path, size: int, seed: int, outputs: Sequence[Path], told: Path) -> None:
    """Write a trial of `size` requests into each of `outputs`.

    The log `told` names the records of which no request was made, where these are too few.
    """
    known = read_requests(requests)
    try:
        drawn = trials.split_trials(known, len(outputs), size, seed)
    except Refusal as error:
        raise Refusal(f"{error}; records that were left out are named in {told}") from None
    for path, trial in zip(outputs, drawn, strict=True):
        write_requests(path, trial)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        split_trials(
            Path(snakemake.input[0]),
            snakemake.params.size,
            snakemake.params.seed,
            [Path(path) for path in snakemake.output],
            Path(snakemake.log[0]).with_name("requests.log"),
        )
