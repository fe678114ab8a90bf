"""Which request of a trial is in which batch of a sequence, in the trial's order."""

from pathlib import Path

import pandas as pd

from modeledit.data.requests import read_requests
from modeledit.data.trials import check_batches
from modeledit.io.frames import write_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed


def split_batches(requests: Path, size: int, count: int, output: Path) -> None:
    """Write the batch of each request; RequestError where they do not fill all batches."""
    known = read_requests(requests)
    check_batches(requests, len(known), size, count)
    ids = [request.id for request in known[: size * count]]
    batches = [1 + place // size for place in range(len(ids))]
    write_csv(output, pd.DataFrame({"request": ids, "batch": batches}))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        split_batches(
            Path(snakemake.input[0]),
            int(snakemake.wildcards.size),
            snakemake.params.batches,
            Path(snakemake.output[0]),
        )
