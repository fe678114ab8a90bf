"""Descriptions of models: `config/models/*.yaml` as types."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import Field

from modeledit.study.architectures import ARCHITECTURES, Architecture
from modeledit.study.checked import Checked, Doc, Matching, OneOf
from modeledit.study.hyperparameters import (
    Hyperparameters,
    NullSpaceHyperparameters,
    RankOneHyperparameters,
    SpreadHyperparameters,
)

Weights = Annotated[
    Literal["safetensors", "torch"], Doc("format of the weights as they are fetched")
]


@dataclass(frozen=True, kw_only=True)
class WheelSource(Checked):
    """A GGUF file inside a Python package."""

    kind: Literal["wheel"]
    requirements: Annotated[str, Doc("file that pins the package by its sha256")]
    member: Annotated[str, Doc("path of the weights in the package")]

    revision = ""
    gated = False
    weights = "safetensors"  # once the GGUF file is converted


@dataclass(frozen=True, kw_only=True)
class FolderSource(Checked):
    """A local folder of transformers."""

    kind: Literal["folder"]
    path: str
    weights: Weights = "safetensors"

    revision = ""
    gated = False


@dataclass(frozen=True, kw_only=True)
class HubSource(Checked):
    """A repository of the model hub at a pinned commit."""

    kind: Literal["hub"]
    repo: Annotated[str, Matching("^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]
    revision: Annotated[str, Matching("^[0-9a-f]{40}$"), Doc("a commit")]
    gated: Annotated[bool, Doc("whether a licence has to be accepted first")] = False
    weights: Weights = "safetensors"


MOST = 10**7  # blocks, rows or tokens: larger than any model's
# Printed in tables and figures, where ends of lines would break rows, and * and ` mark words.
TITLE = r"^[^\s\p{C}*`]([^\p{C}*`\u2028\u2029]{0,98}[^\s\p{C}*`])?$"
ModelSource = WheelSource | FolderSource | HubSource
_SOURCES: dict[str, type[WheelSource] | type[FolderSource] | type[HubSource]] = {
    "wheel": WheelSource,
    "folder": FolderSource,
    "hub": HubSource,
}


def source_of(plain: Mapping[str, Any]) -> ModelSource:
    """The source that `dataclasses.asdict` made `plain` data of."""
    return _SOURCES[plain["kind"]](**plain)


@dataclass(frozen=True, kw_only=True)
class Algorithms(Checked):
    """Hyperparameters by algorithm; None for those that the model has none for."""

    MEMIT: SpreadHyperparameters | None = None
    PMET: SpreadHyperparameters | None = None
    ROME: RankOneHyperparameters | None = None
    AlphaEdit: NullSpaceHyperparameters | None = None

    def described(self) -> dict[str, Hyperparameters]:
        """{algorithm: hyperparameters} of those that there are."""
        return {name: hyper for name, hyper in vars(self).items() if hyper is not None}


@dataclass(frozen=True, kw_only=True)
class ModelShape(Checked):
    """What a model's own configuration must say."""

    family: Annotated[str, OneOf(tuple(ARCHITECTURES)), Doc("architecture")]
    depth: Annotated[int, Ge(1), Le(MOST), Doc("blocks")]
    width: Annotated[int, Ge(1), Le(MOST), Doc("of the states between blocks")]
    mlp_width: Annotated[int, Ge(1), Le(MOST), Doc("of the keys")]

    @property
    def architecture(self) -> Architecture:
        """Where the parts of the family are."""
        return ARCHITECTURES[self.family]


@dataclass(frozen=True, kw_only=True)
class Model(ModelShape):
    """A model: where it comes from, its size, and hyperparameters per algorithm."""

    title: Annotated[str, Matching(TITLE), Doc("printed name")]
    comparable: Annotated[bool, Doc("whether it may be set against the published numbers")]
    license: str
    source: Annotated[ModelSource, Field(discriminator="kind")]
    vocabulary: Annotated[int, Ge(1), Le(MOST)]
    tied: Annotated[bool, Doc("whether the head is the embedding")]
    algorithms: Algorithms

    @property
    def shape(self) -> ModelShape:
        """Family and size alone."""
        return ModelShape(
            family=self.family, depth=self.depth, width=self.width, mlp_width=self.mlp_width
        )

    def hyperparameters(self, algorithm: str) -> Hyperparameters:
        """Those of `algorithm`; KeyError where the description has none."""
        return self.algorithms.described()[algorithm]
