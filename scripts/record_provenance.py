"""Code, packages, machine and digests behind the results, as JSON."""

import logging
from collections.abc import Sequence
from pathlib import Path

from modeledit.io.files import write_json
from modeledit.io.log import journal
from modeledit.io.provenance import record
from modeledit.io.seals import sealed

log = logging.getLogger("modeledit")


def record_provenance(
    root: Path, requirements: Path, files: Sequence[Path], models: Sequence[Path], output: Path
) -> None:
    """Record the project in `root`, its pinned packages, digests of `files`, and the `models`."""
    prepared = {folder.name: folder / "prepared.json" for folder in models}
    found = record(root, requirements, files, prepared)
    log.info("commit %s, dirty: %s", found["code"]["commit"], found["code"]["dirty"])
    write_json(output, found)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given = snakemake.input
        record_provenance(
            Path(snakemake.params.root),
            Path(given.requirements),
            [Path(path) for path in filter(None, (given.metrics, given.sequences))]
            + [Path(path) for path in given.requests],
            [Path(path) for path in given.models],
            Path(snakemake.output[0]),
        )
