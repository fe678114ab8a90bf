"""Hyperparameters of an algorithm on a model, as `config/models/*.yaml` give them (SPEC B)."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen

from modeledit.study.checked import DISTINCT, Checked, Doc

Layer = Annotated[int, Ge(0)]
MOST_STEPS = 10_000  # Adam's numbers say no more by then


@dataclass(frozen=True, kw_only=True)
class Hyperparameters(Checked):
    """What OPTIMIZATION needs, and the layers that are written.

    The bounds keep out what moves nothing: then |dp| <= epsilon holds at once and says nothing.
    """

    layers: Annotated[tuple[Layer, ...], MinLen(1), DISTINCT, Doc("layers that are written")]
    lr: Annotated[float, Ge(1e-5), Doc("learning rate of Adam, about what a step moves delta by")]
    steps: Annotated[
        int,
        Ge(2),
        Le(MOST_STEPS),
        Doc("most steps of OPTIMIZATION; the last one only measures, so one alone moves nothing"),
    ]
    clamp: Annotated[float, Ge(1e-3), Doc("greatest norm of delta, times that of the state")]
    weight_decay: Annotated[float, Ge(0), Le(100)]
    kl_factor: Annotated[float, Ge(0), Le(100)]
    nll_factor: Annotated[float, Ge(1e-3), Doc("factor on the edit's loss, PMET's")] = 1.0


@dataclass(frozen=True, kw_only=True)
class SpreadHyperparameters(Hyperparameters):
    """Of an algorithm that spreads one residual over its layers: MEMIT, PMET."""

    covariance_weight: Annotated[float, Gt(0), Doc("lambda, on the covariance of the keys")]


@dataclass(frozen=True, kw_only=True)
class Cut(Checked):
    """Which eigenvectors of the covariance span its null space, those of the smallest first."""

    kind: Annotated[
        Literal["threshold", "trace", "rank"],
        Doc(
            "`threshold`: those whose eigenvalue is below `value` (0.02 as released; it depends on "
            "the scale of the keys); `trace`: as many as hold at most the share `value` of the "
            "trace; `rank`: `value` of them"
        ),
    ]
    value: Annotated[float, Gt(0)]


@dataclass(frozen=True, kw_only=True)
class NullSpaceHyperparameters(Hyperparameters):
    """Of an algorithm that writes into the null space of the covariance: AlphaEdit."""

    null_space: Cut
    l2: Annotated[
        float,
        Gt(0),
        Doc("on the identity beside the keys; 10 as released, 1 in its paper (SPEC K.2, D5)"),
    ]


@dataclass(frozen=True, kw_only=True)
class RankOneHyperparameters(Hyperparameters):
    """Of ROME, which writes into one layer."""

    layers: Annotated[tuple[Layer, ...], MinLen(1), MaxLen(1)]
