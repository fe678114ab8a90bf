"""An iteration that comes after the stop: it passes on the name of the one that holds the state.

No torch is imported here, so that passing on costs milliseconds.
"""

from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from modeledit.io.files import finished, read_json, write_json
from modeledit.io.matrices import write_matrices


def pass_on(previous: Path, outputs: Mapping[str, Path]) -> None:
    """Leave the files of an iteration that comes after the stop: empty, pointing at the holder.

    `previous` is the state.json before; `outputs` names the files state, edited, targets, edits,
    scores and hardware of this one.
    """
    before = read_json(previous)
    state = before | {"k": before["k"] + 1, "passed_on": True}
    for name in ("edited", "targets"):
        write_matrices(outputs[name], {}, {"held_by": str(state["held_by"])})
    for name in ("edits", "scores"):
        held = previous.parent / f"{name}.parquet"
        with finished(outputs[name]) as temporary:
            pq.write_table(pq.read_schema(held).empty_table(), temporary)
    write_json(outputs["hardware"], {})
    write_json(outputs["state"], state)
