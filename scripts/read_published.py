"""Requests of a published file, or the first of them, in the file's order."""

import logging
from pathlib import Path

from modeledit.data.readers import READERS
from modeledit.data.requests import write_requests
from modeledit.io.log import journal
from modeledit.io.seals import sealed

log = logging.getLogger("modeledit")


def read_published(file: Path, kind: str, size: int | None, output: Path) -> None:
    """Write the first `size` requests of a `file` of `kind` (READERS), all where None is given."""
    requests = READERS[kind](file)
    taken = requests[:size]
    log.info("%d of %d requests", len(taken), len(requests))
    write_requests(output, taken)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        read_published(
            Path(snakemake.input[0]),
            snakemake.params.kind,
            snakemake.params.size,
            Path(snakemake.output[0]),
        )
