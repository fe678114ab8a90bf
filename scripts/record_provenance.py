"""Code, packages, machine and digests behind the results, as JSON."""

from pathlib import Path

from modeledit.io.files import write_json
from modeledit.io.log import journal
from modeledit.io.provenance import record

with journal(snakemake.log[0]) as log:
    found = record(
        root=Path(snakemake.params.root),
        requirements=Path(snakemake.input.requirements),
        files=[Path(path) for path in (snakemake.input.metrics, *snakemake.input.requests)],
        prepared={Path(f).name: Path(f) / "prepared.json" for f in snakemake.input.models},
    )
    log.info("commit %s, dirty: %s", found["code"]["commit"], found["code"]["dirty"])
    write_json(Path(snakemake.output[0]), found)
