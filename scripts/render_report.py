"""The report of everything that was run, one HTML file."""

from pathlib import Path

from modeledit.io.files import finished
from modeledit.io.log import journal
from modeledit.presentation.report import Sources, render
from modeledit.presentation.single_edits import RunFiles


def optional(name: str) -> Path | None:
    """An input that not every configuration makes."""
    path = snakemake.input.get(name)
    return Path(path) if path else None


with journal(snakemake.log[0]) as log:
    given = snakemake.input
    # One file of each run, in the order of the runs.
    parallel = (given.values, given.requests, given.contexts, given.unedited)
    sources = Sources(
        config=Path(given.config),
        tables=[Path(path) for path in given.get("tables", [])],
        figures=[Path(path) for path in given.get("figures", [])],
        runs=[
            RunFiles(Path(values).parent, Path(requests), Path(contexts), Path(unedited))
            for values, requests, contexts, unedited in zip(*parallel, strict=True)
        ],
        **{
            name: optional(name)
            for name in (
                "metrics",
                "claims",
                "comparison",
                "intervals",
                "differences",
                "hardware",
                "provenance",
            )
        },
    )
    page = render(sources, snakemake.params.max_edits, snakemake.params.every_iteration)
    log.info("%d runs, %.1f MB", len(sources.runs), len(page.encode()) / 1e6)
    with finished(Path(snakemake.output[0])) as path:
        path.write_text(page, encoding="utf-8")
