"""Build or read all requests of a dataset, in one schema."""

from pathlib import Path

from modeledit.data.geography import build_requests
from modeledit.data.readers import READERS
from modeledit.data.requests import write_requests
from modeledit.io.log import journal

with journal(snakemake.log[0]) as log:
    if snakemake.params.dataset["source"] == "geography":
        requests = build_requests(snakemake.params.seed)
    else:
        requests = READERS[snakemake.params.dataset["source"]](Path(snakemake.input[0]))
    log.info("%d requests", len(requests))
    write_requests(Path(snakemake.output[0]), requests)
