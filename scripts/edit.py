"""One iteration of a run; one that comes after the stop passes it on without touching a model."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from modeledit.editing.link import Batch, Inputs, Link
from modeledit.editing.state import pass_on
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.io.state import read_state
from modeledit.study.layout import IterationFiles
from modeledit.study.methods import METHODS

log = logging.getLogger("modeledit")


def edit(link: Link, inputs: Inputs, outputs: IterationFiles) -> None:
    """Leave the files of an iteration; only one that edits imports torch."""
    after_stop = link.k > 1 and inputs.previous and read_state(inputs.previous).stopped
    if after_stop:
        log.info("the run has stopped; nothing to do")
        pass_on(inputs.previous, outputs, scored=link.batch is None)
        return
    import modeledit.lm.libraries  # noqa: F401, first: see there
    from modeledit.editing.job import extend_chain

    extend_chain(link, inputs, outputs)


def inputs_of(given: Any) -> Inputs:
    """The input files of a job, by name; `earlier_keys` is a list."""
    keys = given.get("earlier_keys", [])
    earlier = [keys] if isinstance(keys, str) else keys
    single = {name: Path(path) for name, path in given.items() if isinstance(path, str)}
    return Inputs(**{"texts": None} | single | {"earlier_keys": tuple(map(Path, earlier))})


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params, at = snakemake.params, snakemake.wildcards
        budget = snakemake.resources.token_budget or "auto"
        compute = replace(params.compute, threads=snakemake.threads, token_budget=budget)
        batch = Batch(int(at.batch), int(at.size)) if "batch" in at.keys() else None
        switches, method = params.switches, METHODS[at.method]
        edit(
            Link(int(at.k), method, params.hyper, switches, params.stop, compute, batch),
            inputs_of(snakemake.input),
            IterationFiles.below(Path(snakemake.output.state).parent),
        )
