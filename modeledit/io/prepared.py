"""What a prepared model says of itself: prepared.json in its folder."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from modeledit.io.files import read_json, write_json
from modeledit.io.matrices import StateError

FILE = "prepared.json"


@dataclass(frozen=True, kw_only=True)
class PreparedModel:
    """Where a model's folder is from, and the sha256 of what is in it.

    `origin_sha256` is None where the origin was a folder. `transformers` is the version that wrote
    the folder.
    """

    origin: str
    origin_sha256: str | None
    weights_sha256: str
    tokenizer_sha256: str
    parameters: int
    transformers: str


def write_prepared(folder: Path, model: PreparedModel) -> None:
    """Write the prepared.json of a model's folder, atomically."""
    write_json(folder / FILE, asdict(model))


def read_prepared(folder: Path) -> PreparedModel:
    """Read the prepared.json of a model's folder; StateError where it is none."""
    path = folder / FILE
    if not path.is_file():
        raise StateError(f"{path}: not there; is {folder} a prepared model's folder?")
    found = read_json(path)
    names = {field.name for field in fields(PreparedModel)}
    if not isinstance(found, dict) or found.keys() != names:
        raise StateError(
            f"{path}: not the record of a prepared model, which says {', '.join(sorted(names))}; "
            f"delete {folder} to prepare the model again"
        )
    return PreparedModel(**found)
