"""A prepared model folder's record, prepared.json, and whether the folder still is what it says."""

from pathlib import Path

from modeledit.io.files import digest, file_digest, read_json

RECORD = "prepared.json"
CHECKED = "files_sha256"  # of the record: name of each file that a model is read from, its sha256
READ = ("config.json", "tokenizer.json", "tokenizer_config.json")  # beside the weights


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

    Reading them takes about a second for each GB. A folder without a record, or whose record has no
    digests, has no changed files.
    """
    record = folder / RECORD
    if not record.is_file():
        return []
    expected = read_json(record).get(CHECKED)
    if expected is None:
        return []
    found = file_digests(folder)
    names = sorted(expected.keys() | found.keys())
    return [name for name in names if expected.get(name) != found.get(name)]
