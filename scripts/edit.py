"""One iteration of a run; one that comes after the stop passes it on without touching a model."""

from pathlib import Path

from modeledit.editing.state import pass_on
from modeledit.io.files import read_json
from modeledit.io.log import journal

with journal(snakemake.log[0]) as log:
    previous = Path(snakemake.input.previous) if snakemake.input.get("previous") else None
    if previous and read_json(previous)["stopped"]:
        log.info("the run has stopped; nothing to do")
        pass_on(previous, {name: Path(path) for name, path in snakemake.output.items()})
    else:
        from modeledit.editing.job import extend_chain  # imports torch

        extend_chain(
            k=int(snakemake.wildcards.k),
            method=snakemake.wildcards.method,
            inputs={name: Path(path) for name, path in snakemake.input.items() if path},
            outputs={name: Path(path) for name, path in snakemake.output.items()},
            hyper=snakemake.params.hyper,
            switches=snakemake.params.switches,
            stop=snakemake.params.stop,
            compute=snakemake.params.compute | {"token_budget": snakemake.resources.token_budget},
            threads=snakemake.threads,
        )
