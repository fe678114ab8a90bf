"""An iteration that comes after the stop: it passes on the name of the one that holds the state.

There are many of them, so they cost next to nothing: no torch, and but for the first after the stop
neither numpy nor pyarrow is imported, since its empty files are copied.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from modeledit.io.files import finished
from modeledit.io.state import State, read_state, write_state
from modeledit.study.layout import IterationFiles


def pass_on(previous: Path, outputs: IterationFiles, scored: bool) -> None:
    """Leave the files of an iteration that comes after the stop: empty, pointing at the holder.

    `previous` is the state.json before; `outputs` are the files of this one, its scores only where
    iterations are `scored`.
    """
    scores = ["scores"] if scored else []
    before, files = read_state(previous), IterationFiles.below(previous.parent)
    if before.passed_on:
        for name in ("edited", "targets", "key_cache", "edits", "hardware", *scores):
            with finished(getattr(outputs, name)) as temporary:
                shutil.copyfile(getattr(files, name), temporary)
    else:
        _write_empty(outputs, before, scored)
    write_state(outputs.state, replace(before, k=before.k + 1, passed_on=True))


def _write_empty(outputs: IterationFiles, before: State, scored: bool) -> None:
    """Files of their kinds with nothing in them."""
    from modeledit.evaluation.schemas import EDITS, RAW_SCORES
    from modeledit.io.frames import write_parquet
    from modeledit.io.hardware import write_hardware
    from modeledit.io.matrices import write_matrices

    for path in (outputs.edited, outputs.targets, outputs.key_cache):
        write_matrices(path, {}, {"held_by": str(before.held_by)})
    write_parquet(outputs.edits, EDITS.columns.empty_table())
    if scored:
        write_parquet(outputs.scores, RAW_SCORES.columns.empty_table())
    write_hardware(outputs.hardware, None)
