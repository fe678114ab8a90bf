"""An iteration that comes after the stop: it passes on the name of the one that holds the state.

No torch is imported here, so that passing on costs milliseconds.
"""

from dataclasses import replace
from pathlib import Path

from modeledit.evaluation.schemas import EDITS, RAW_SCORES
from modeledit.io.frames import write_parquet
from modeledit.io.hardware import write_hardware
from modeledit.io.matrices import write_matrices
from modeledit.io.state import read_state, write_state
from modeledit.study.layout import IterationFiles


def pass_on(previous: Path, outputs: IterationFiles) -> None:
    """Leave the files of an iteration that comes after the stop: empty, pointing at the holder.

    `previous` is the state.json before; `outputs` are the files of this one.
    """
    before = read_state(previous)
    for path in (outputs.edited, outputs.targets):
        write_matrices(path, {}, {"held_by": str(before.held_by)})
    for path, schema in ((outputs.edits, EDITS), (outputs.scores, RAW_SCORES)):
        write_parquet(path, schema.columns.empty_table())
    write_hardware(outputs.hardware, None)
    write_state(outputs.state, replace(before, k=before.k + 1, passed_on=True))
