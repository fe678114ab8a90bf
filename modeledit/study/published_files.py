"""Files that others published: where each lies, its sha256, and what it is for.

All of it is said in config/sources.yaml, how much a file holds included, so that a plan can be made
while nothing has been downloaded.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """One published file.

    `name` is its path below resources/downloads, `path` the one at its place. It lies at one of
    `urls`, or in the data set `repo` of the model hub at `revision`. `sha256` is None where nobody
    published it.
    """

    name: str
    path: str
    sha256: str | None = None
    urls: tuple[str, ...] = ()
    repo: str = ""
    revision: str = ""


class Sources:
    """Everything that config/sources.yaml describes, as `Source`s."""

    def __init__(self, description: Mapping):
        self._description = description
        places = description["places"]
        self.files = {
            name: Source(
                name,
                file["path"],
                file["sha256"],
                tuple(f"{address}/{file['path']}" for address in places[file["place"]]),
            )
            for name, file in description["files"].items()
        }
        self.perplexity: str = description["perplexity"]
        self.eligible: dict[int, str] = description["eligible"]

    def records(self, name: str) -> int:
        """How many records the file `name` holds."""
        return self._description["files"][name]["records"]

    def trials(self, kind: str) -> list[str]:
        """Names of the authors' trials of "counterfact" or "zsre", in order."""
        return self._description["trials"].get(kind, [])

    def whole(self, kind: str) -> str | None:
        """Name of the file with the whole of "counterfact", or None where none is known."""
        return self._description["whole"].get(kind)

    def has_statistics(self, model: str) -> bool:
        """Whether the authors published covariances of `model`."""
        return model in self._description["statistics"]["models"]

    def statistics(self, model: str, layer: int) -> Source:
        """The authors' covariance of one layer of `model`."""
        place = self._description["statistics"]
        path = place["models"][model].format(layer=layer)
        return _on_hub(place, path)

    @property
    def dump(self) -> str:
        """Name of the Wikipedia dump."""
        return self._description["wikipedia"]["dump"]

    def shards(self) -> list[Source]:
        """The parts of the Wikipedia dump, in order."""
        place = self._description["wikipedia"]
        n = place["shards"]
        names = (f"{place['dump']}/train-{i:05d}-of-{n:05d}.parquet" for i in range(n))
        return [_on_hub(place, name) for name in names]

    def one_shard(self, seed: int) -> Source:
        """A part of the dump chosen by `seed`: they are sorted by age, the first is not typical."""
        return random.Random(seed).choice(self.shards())

    def provenance(self, kind: str) -> str:
        """Repository and revision of the "statistics" or of "wikipedia", for a record."""
        place = self._description[kind]
        return f"{place['repo']}@{place['revision']}"


def _on_hub(place: Mapping, path: str) -> Source:
    repo = place["repo"]
    return Source(f"hub/{repo}/{path}", path, repo=repo, revision=place["revision"])
