"""Build or read all requests of a dataset, in one schema."""

import logging
from pathlib import Path

from modeledit.data import geography
from modeledit.data.geography_forms import with_neighbors
from modeledit.data.readers import OWN, load_requests
from modeledit.data.requests import write_requests
from modeledit.io.files import optional_path
from modeledit.io.log import journal
from modeledit.io.refusal import Refusal
from modeledit.io.seals import sealed
from modeledit.study.settings import Kind

log = logging.getLogger("modeledit")
NAMED = 3  # records in the message; the log has more


def build_requests(
    kind: Kind, file: Path | None, skip_bad: bool, seed: int, wanted: int, output: Path
) -> None:
    """Write all requests of a dataset of `kind`: those of `file`, or the built-in ones.

    What was mended in a file, and which records were left out, is logged. Refusal where these leave
    fewer than the `wanted` requests. Facts of one's own that have no neighbors get built-in ones.
    """
    if file is None:
        requests = geography.build_requests(seed)
    else:
        loaded = load_requests(file, kind, skip_bad)
        requests = with_neighbors(loaded.requests) if kind == OWN else loaded.requests
        for line in loaded.lines():
            log.warning("%s", line)
        if len(requests) < wanted and loaded.left_out:
            named = "; ".join(map(str, loaded.left_out[:NAMED]))
            raise Refusal(
                f"{file}: the trials ask for {wanted} requests, {len(requests)} are left; left "
                f"out: {named}; ask for fewer or mend the records"
            )
    log.info("%d requests", len(requests))
    write_requests(output, requests)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        build_requests(
            snakemake.params.kind,
            optional_path(snakemake.input.get("file")),
            snakemake.params.skip_bad,
            snakemake.params.seed,
            snakemake.params.wanted,
            Path(snakemake.output[0]),
        )
