"""One iteration of a run; one that comes after the stop passes it on without touching a model."""

import logging
from dataclasses import replace
from pathlib import Path

from modeledit.editing.link import Inputs, Link
from modeledit.editing.state import pass_on
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.io.state import read_state
from modeledit.study.layout import IterationFiles
from modeledit.study.methods import METHODS

log = logging.getLogger("modeledit")


def edit(link: Link, inputs: Inputs, outputs: IterationFiles) -> None:
    """Leave the files of an iteration; only one that edits imports torch."""
    if inputs.previous and read_state(inputs.previous).stopped:
        log.info("the run has stopped; nothing to do")
        pass_on(inputs.previous, outputs)
        return
    import modeledit.lm.libraries  # noqa: F401, first: see there
    from modeledit.editing.job import extend_chain

    extend_chain(link, inputs, outputs)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params, at = snakemake.params, snakemake.wildcards
        budget = snakemake.resources.token_budget or "auto"
        compute = replace(params.compute, threads=snakemake.threads, token_budget=budget)
        method = METHODS[at.method]
        edit(
            Link(int(at.k), method, params.hyper, params.switches, params.stop, compute),
            Inputs(**{name: Path(path) for name, path in snakemake.input.items() if path}),
            IterationFiles(**{name: Path(path) for name, path in snakemake.output.items()}),
        )
