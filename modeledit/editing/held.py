"""A model as an iteration of a run left it: the prepared one with that iteration's matrices."""

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from modeledit.editing.job import load_edited
from modeledit.io.prepared import read_prepared
from modeledit.io.state import read_state
from modeledit.lm.model import EditableModel, load_model
from modeledit.study.layout import IterationFiles


def held_state(state: Path) -> Path:
    """The state.json that holds the matrices of `state`: itself, or the one it passed on."""
    return IterationFiles.of(state.parent.parent, read_state(state).held_by).state


def put_state(model: EditableModel, base: Path, state: Path, method: str) -> int:
    """Put what an iteration left into `model`, loaded from the prepared folder `base`; its k.

    `state` is a state.json; one that passed a stop on stands for the iteration that holds its
    matrices. Raises StateError where they belong to another model or method.
    """
    held = held_state(state)
    k = read_state(held).k
    weights = read_prepared(base).weights_sha256
    expected = {"base": weights, "method": method, "k": str(k)}
    load_edited(model, IterationFiles.below(held.parent).edited, expected)
    return k


def load_held(
    base: Path, state: Path | None, method: str, device: str = "cpu"
) -> tuple[EditableModel, PreTrainedTokenizerBase]:
    """The prepared model with what an iteration left in it, or unedited without a `state`."""
    model, tokenizer = load_model(base, device)
    if state:
        put_state(model, base, state, method)
    return model, tokenizer
