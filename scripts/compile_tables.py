"""All tables in one LaTeX document, compiled where an engine is present."""

import logging
from collections.abc import Sequence
from pathlib import Path

from modeledit.io.files import write_text
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.compiling import typeset
from modeledit.presentation.typesetting import document

log = logging.getLogger("modeledit")


def compile_tables(tables: Sequence[Path], title: str, output: Path, status: Path) -> None:
    """Write the document `output` of all fragments, its PDF beside it, and how that went."""
    fragments = [path.read_text(encoding="utf-8") for path in tables]
    write_text(output, document(fragments, title))
    said = typeset(output)
    log.info("%s", said)
    write_text(status, f"{said}\n")


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        compile_tables(
            [Path(path) for path in snakemake.input.tables],
            snakemake.params.title,
            Path(snakemake.output.document),
            Path(snakemake.output.status),
        )
