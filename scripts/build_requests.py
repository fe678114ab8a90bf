"""Build or read all requests of a dataset, in one schema."""

from pathlib import Path

from modeledit.data.geography import build_requests
from modeledit.data.readers import load_requests
from modeledit.data.requests import write_requests
from modeledit.io.log import journal

with journal(snakemake.log[0]) as log:
    if snakemake.params.dataset["source"] == "geography":
        requests = build_requests(snakemake.params.seed)
    else:
        loaded = load_requests(Path(snakemake.input[0]), snakemake.params.dataset["source"])
        requests = loaded.requests
        for line in loaded.lines():
            log.warning("%s", line)
    log.info("%d requests", len(requests))
    write_requests(Path(snakemake.output[0]), requests)
