"""Requests of a published file, or the first of them, in the file's order."""

from pathlib import Path

from modeledit.data.readers import READERS
from modeledit.data.requests import write_requests
from modeledit.io.log import journal

with journal(snakemake.log[0]) as log:
    requests = READERS[snakemake.params.kind](Path(snakemake.input[0]))
    taken = requests[: snakemake.params.size]
    log.info("%d of %d requests", len(taken), len(requests))
    write_requests(Path(snakemake.output[0]), taken)
