"""What a prepared model says of itself, prepared.json, and whether its folder still is that."""

from dataclasses import asdict, dataclass
from pathlib import Path

from modeledit.io.files import StateError, check_fields, digest, file_digest, read_json, write_json
from modeledit.io.seals import check_seal, seal

FILE = "prepared.json"
READ = ("config.json", "tokenizer.json", "tokenizer_config.json")  # beside the weights


@dataclass(frozen=True)
class Agreement:
    """How far the engine was from transformers on how many log-probabilities."""

    log_probabilities: int
    largest_difference: float  # natural logarithms


@dataclass(frozen=True, kw_only=True)
class PreparedModel:
    """Where a model's folder is from, and the sha256 of what is in it.

    `origin_sha256` is None where the origin was a folder. `files_sha256` names each file that the
    model is read from. `transformers` is the version that wrote the folder.
    """

    origin: str
    origin_sha256: str | None
    weights_sha256: str
    tokenizer_sha256: str
    files_sha256: dict[str, str]
    agreement: Agreement
    parameters: int
    transformers: str


def write_prepared(folder: Path, model: PreparedModel) -> None:
    """Write the prepared.json of a model's folder, atomically, and its seal."""
    write_json(folder / FILE, asdict(model))
    seal(folder / FILE)


def read_prepared(folder: Path) -> PreparedModel:
    """Read the prepared.json of a model's folder; StateError where it is none, or damaged."""
    path = folder / FILE
    if not path.is_file():
        raise StateError(f"{path}: not there; is {folder} a prepared model's folder?")
    way_out = f"delete {folder} to prepare the model again"
    check_seal(path, way_out)
    found = read_json(path, way_out)
    check_fields(path, found, PreparedModel, "the record of a prepared model", way_out)
    return PreparedModel(**found | {"agreement": Agreement(**found["agreement"])})


def file_digests(folder: Path) -> dict[str, str]:
    """sha256 of every file that a model is read from, by name."""
    weights = folder.glob("model*.safetensors")
    beside = (path for path in map(folder.joinpath, READ) if path.is_file())
    return {path.name: file_digest(path) for path in sorted([*weights, *beside])}


def weights_digest(files: dict[str, str]) -> str:
    """sha256 of model.safetensors; of a sharded model, of its shards' names and their sha256.

    `files` is what `file_digests` gives.
    """
    weights = {name: value for name, value in files.items() if name.endswith(".safetensors")}
    return weights["model.safetensors"] if len(weights) == 1 else digest(weights)


def changed_files(folder: Path) -> list[str]:
    """Names of the files that are not, to the byte, what was prepared.

    Reading them takes about a second for each GB. A folder without a record, which transformers
    wrote or an edit was exported to, has no changed files.
    """
    if not (folder / FILE).is_file():
        return []
    expected, found = read_prepared(folder).files_sha256, file_digests(folder)
    names = sorted(expected.keys() | found.keys())
    return [name for name in names if expected.get(name) != found.get(name)]
