"""A model as an iteration of a run left it: the prepared one with that iteration's matrices."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

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


@dataclass(frozen=True)
class Held:
    """A state of a run: the prepared model `base`, and the state.json of one of its iterations by
    `method`; without one the unedited model."""

    base: Path
    state: Path | None = None
    method: str = ""

    @classmethod
    def of(cls, files: Any, names: Any) -> Self:
        """That of a job: `model` and perhaps `state` of its input files, `method` of its names."""
        state = files.get("state")
        return cls(Path(files.model), Path(state) if state else None, names.get("method", ""))

    def load(self, device: str = "cpu") -> tuple[EditableModel, PreTrainedTokenizerBase]:
        """The model as it was then, and its tokenizer."""
        model, tokenizer = load_model(self.base, device)
        self.put(model)
        return model, tokenizer

    def put(self, model: EditableModel) -> None:
        """Put what the iteration left into `model`, which was loaded unedited."""
        if self.state:
            put_state(model, self.base, self.state, self.method)
