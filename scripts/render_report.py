"""The report of everything that was run, one HTML file."""

import logging
from pathlib import Path

from modeledit.io.files import optional_path, write_text
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.report import Sources, render
from modeledit.presentation.single_edits import RunFiles

log = logging.getLogger("modeledit")
LISTED = (
    "metrics",
    "claims",
    "comparison",
    "intervals",
    "differences",
    "hardware",
    "sequences",
    "sequence_intervals",
    "sequence_comparison",
    "behavior",
    "behavior_tests",
    "provenance",
    "compiled",
)


def render_report(sources: Sources, max_edits: int, output: Path) -> None:
    """Write the page, with at most `max_edits` single edits of each run."""
    page = render(sources, max_edits)
    log.info("%d runs, %.1f MB", len(sources.runs), len(page.encode()) / 1e6)
    write_text(output, page)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, max_edits = snakemake.input, snakemake.params.max_edits
        single = (given.values, given.requests, given.contexts, given.unedited)
        sources = Sources(
            config=Path(given.config),
            tables=[Path(path) for path in given.tables],
            figures=[Path(path) for path in given.figures],
            runs=[RunFiles(*map(Path, files)) for files in zip(*single, strict=True)],
            **{name: optional_path(given.get(name)) for name in LISTED},
        )
        render_report(sources, max_edits, Path(snakemake.output[0]))
