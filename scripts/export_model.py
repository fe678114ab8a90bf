"""An edited model as a folder that transformers reads."""

import logging
from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.editing import export
from modeledit.io.log import journal
from modeledit.io.seals import sealed

log = logging.getLogger("modeledit")


def export_model(model: Path, state: Path, method: str, folder: Path) -> None:
    """Write the model as the iteration of `state` left it; `model` is the prepared folder."""
    log.info("exported and read back: %s", export.export_model(model, state, folder, method))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, ()):
        export_model(
            Path(snakemake.input.model),
            Path(snakemake.input.state),
            snakemake.wildcards.method,
            Path(snakemake.output[0]),
        )
