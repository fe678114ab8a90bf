"""The probes of a trial's requests: built from the facts behind them, or read from a file."""

import logging
from pathlib import Path

from modeledit.data import geography_probes
from modeledit.data.probe_readers import FORMATS, attach
from modeledit.data.probes import write_probes
from modeledit.data.requests import read_requests
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.study.observation import Format

log = logging.getLogger("modeledit")


def build_probes(requests: Path, file: Path | None, format: Format | None, output: Path) -> None:
    """Write the probes of `requests`: those of a `file` in a `format`, else of the geography."""
    read = read_requests(requests)
    if file is None or format is None:
        probes = geography_probes.build_probes(read)
    else:
        attached = attach(file, FORMATS[format](file), read)
        log.info("%s: %s", file, attached.line())
        probes = attached.probes
    asked = {probe.request for probe in probes}
    log.info("%d probes of %d of %d requests", len(probes), len(asked), len(read))
    write_probes(output, probes)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given = snakemake.input
        build_probes(
            Path(given.requests),
            Path(given.file) if given.get("file") else None,
            snakemake.params.format,
            Path(snakemake.output[0]),
        )
