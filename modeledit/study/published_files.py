"""Files that others published: where each lies, its sha256, and what it is for.

All of it is said in config/sources.yaml, how much a file holds included, so that a plan can be made
while nothing has been downloaded.
"""

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from annotated_types import Ge, Le, MinLen

from modeledit.study.checked import Checked, Doc, Matching

Address = Annotated[str, Matching("^https?://.+[^/]$")]
# Relative, without a step upwards: it becomes a path below resources/downloads.
FileName = Annotated[str, Matching(r"^[.-]*\w[\w.-]*(/[.-]*\w[\w.-]*)*$")]


@dataclass(frozen=True, kw_only=True)
class PublishedFile(Checked):
    """A file at a place on the web."""

    place: str
    path: str
    sha256: Annotated[
        Annotated[str, Matching("^[0-9a-f]{64}$")] | None, Doc("null where nobody published one")
    ]
    records: Annotated[int, Ge(1)]


@dataclass(frozen=True, kw_only=True)
class Statistics(Checked):
    """A data set of the hub with the authors' covariances."""

    repo: str
    revision: str
    models: Annotated[
        dict[str, Annotated[str, Matching(r"\{layer\}")]],
        Doc("per model, the path of a layer's file"),
    ]


@dataclass(frozen=True, kw_only=True)
class Wikipedia(Checked):
    """A data set of the hub with a dump in numbered parts."""

    repo: str
    revision: str
    dump: str
    shards: Annotated[int, Ge(1), Le(99999)]


@dataclass(frozen=True, kw_only=True)
class PublishedFiles(Checked):
    """config/sources.yaml as it is written."""

    places: Annotated[
        dict[str, Annotated[tuple[Address, ...], MinLen(1)]],
        Doc("addresses on the web, tried in order; a file's path follows"),
    ]
    files: dict[FileName, PublishedFile]
    trials: Annotated[
        dict[str, Annotated[tuple[str, ...], MinLen(1)]],
        Doc("per kind of dataset, the authors' trials in order"),
    ]
    whole: Annotated[dict[str, str], Doc("per kind of dataset, the file that holds all of it")]
    eligible: Annotated[dict[int, str], Doc("the authors' eligible sets by their size")]
    perplexity: str
    statistics: Statistics
    wikipedia: Wikipedia


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


@dataclass(frozen=True)
class Sources:
    """Everything that config/sources.yaml describes, as `Source`s."""

    described: PublishedFiles

    @cached_property
    def files(self) -> dict[str, Source]:
        """The files at places on the web, by name."""
        places = self.described.places
        return {
            name: Source(
                name,
                file.path,
                file.sha256,
                tuple(f"{address}/{file.path}" for address in places[file.place]),
            )
            for name, file in self.described.files.items()
        }

    @property
    def perplexity(self) -> str:
        """Name of the file with the texts of ME-PPL."""
        return self.described.perplexity

    @property
    def eligible(self) -> dict[int, str]:
        """Names of the authors' eligible sets, by their size."""
        return self.described.eligible

    def records(self, name: str) -> int:
        """How many records the file `name` holds."""
        return self.described.files[name].records

    def trials(self, kind: str) -> tuple[str, ...]:
        """Names of the authors' trials of "counterfact" or "zsre", in order."""
        return self.described.trials.get(kind, ())

    def whole(self, kind: str) -> str | None:
        """Name of the file with the whole of "counterfact", or None where none is known."""
        return self.described.whole.get(kind)

    def has_statistics(self, model: str) -> bool:
        """Whether the authors published covariances of `model`."""
        return model in self.described.statistics.models

    def statistics(self, model: str, layer: int) -> Source:
        """The authors' covariance of one layer of `model`."""
        place = self.described.statistics
        return _on_hub(place, place.models[model].replace("{layer}", str(layer)))

    @property
    def dump(self) -> str:
        """Name of the Wikipedia dump."""
        return self.described.wikipedia.dump

    def shards(self) -> list[Source]:
        """The parts of the Wikipedia dump, in order."""
        place = self.described.wikipedia
        n = place.shards
        return [_on_hub(place, f"{place.dump}/train-{i:05d}-of-{n:05d}.parquet") for i in range(n)]

    def one_shard(self, seed: int) -> Source:
        """A part of the dump chosen by `seed`: they are sorted by age, the first is not typical."""
        return random.Random(seed).choice(self.shards())

    @property
    def statistics_provenance(self) -> str:
        """Repository and revision of the authors' covariances, for a record."""
        return _provenance(self.described.statistics)

    @property
    def wikipedia_provenance(self) -> str:
        """Repository, revision and dump of Wikipedia, for a record."""
        return f"{_provenance(self.described.wikipedia)}/{self.dump}"


def _on_hub(place: Statistics | Wikipedia, path: str) -> Source:
    return Source(f"hub/{place.repo}/{path}", path, repo=place.repo, revision=place.revision)


def _provenance(place: Statistics | Wikipedia) -> str:
    return f"{place.repo}@{place.revision}"
