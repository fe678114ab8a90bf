"""An edited model as a folder that transformers reads."""

from pathlib import Path

from modeledit.editing.export import export_model
from modeledit.io.log import journal

with journal(snakemake.log[0]) as log:
    record = export_model(
        Path(snakemake.input.model),
        Path(snakemake.input.state),
        Path(snakemake.output[0]),
        snakemake.wildcards.method,
    )
    log.info("exported and read back: %s", record)
