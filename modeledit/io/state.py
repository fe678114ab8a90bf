"""What an iteration says of itself, for the next one and for whoever reads it: state.json."""

from dataclasses import asdict, dataclass
from pathlib import Path

from modeledit.io.files import check_fields, read_json, write_json


@dataclass(frozen=True, kw_only=True)
class State:
    """An iteration k: whether it edited, what it measured, and whether the run ends with it.

    `held_by` is the iteration whose edited matrices are the run's state. `differences` are |dp| of
    iterations 1 to k. `collapsed` says why an iteration wrote nothing, with the requests.
    """

    k: int
    held_by: int
    passed_on: bool
    stopped: bool
    collapsed: str | None
    p_bar: float
    p_hat: float
    dp: float
    precision: str
    differences: list[float]


def write_state(path: Path, state: State) -> None:
    """Write a state.json, atomically."""
    write_json(path, asdict(state))


def read_state(path: Path) -> State:
    """Read a state.json; StateError that names the file and what it lacks."""
    found = read_json(path)
    check_fields(path, found, State, "the state of an iteration")
    return State(**found)
