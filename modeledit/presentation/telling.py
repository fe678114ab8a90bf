"""What became of each edit of a run, and which edits tell most: UnderEdit that iterating cured,
OverEdit that an edit caused, OverEdit that a neighbor in the loss prevented."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

import pandas as pd

from modeledit.evaluation.metrics import underedit
from modeledit.study.layout import RunKey
from modeledit.study.methods import METHODS

TELLING = ("cured", "broken", "prevented")  # the flags of edits that tell most
FLAGS = (*TELLING, "underedit", "wrong")
_KEPT_FIRST = ("cured", "prevented", "underedit", "wrong", "broken")


@dataclass(frozen=True)
class Outcomes:
    """One run's edits: flags, and what they are ranked by. Frames are indexed by request."""

    run: RunKey
    flags: pd.DataFrame  # columns FLAGS
    strength: pd.DataFrame  # columns TELLING, the higher the more telling


class Told(NamedTuple):
    """A request of a run."""

    run: int  # place in the list of runs
    request: int


def outcomes(
    values: Mapping[RunKey, pd.DataFrame], stops: Mapping[RunKey, int]
) -> dict[RunKey, Outcomes]:
    """What became of the edits of each run, from request_metrics.parquet and the runs' stops.

    ``underedit``: the old object stayed likelier after k = 1 (paper, section 6.1); ``wrong``: at
    the stop the model does not say o*; ``cured``: underedit, and not wrong; ``broken``: at the stop
    some neighbor's answer is another than the unedited model's (OverEdit); ``prevented``: none is
    with a neighbor in the loss, where the plain algorithm on the same trial broke one.
    """
    found = {}
    for run, rows in values.items():
        end = rows[rows["k"] == stops[run]].set_index("request").sort_index()
        missed = end.index.isin(underedit(rows[rows["k"] == 1]))
        wrong, broken = end["eff_acc"] < 1, end["spec_acc"] < 1
        flags = pd.DataFrame(
            {
                "cured": missed & ~wrong,
                "broken": broken,
                "prevented": False,
                "underedit": missed,
                "wrong": wrong,
            }
        )
        strength = pd.DataFrame(
            {
                # An edit that generalizes and spares its neighbors shows the cure best.
                "cured": end["gen_acc"].fillna(0) + end["spec_acc"].fillna(0),
                "broken": 1 - end["spec_acc"],
                "prevented": 0.0,
            }
        )
        found[run] = Outcomes(run, flags, strength)
    for run, own in found.items():
        plain = found.get(run._replace(method=METHODS[run.method].algorithm))
        if plain is not None and METHODS[run.method].neighbor_assisted:
            theirs = plain.flags["broken"].reindex(own.flags.index, fill_value=False)
            own.flags["prevented"] = theirs & ~own.flags["broken"]
            own.strength["prevented"] = plain.strength["broken"].reindex(own.flags.index).fillna(0)
    return found


def choose(flags: pd.DataFrame, most: int) -> list[int]:
    """At most ``most`` requests: cured, prevented, UnderEdit, wrong, broken ones, then the lowest
    ids."""
    ordered = flags.rename_axis("request").reset_index()
    ascending = [False] * len(_KEPT_FIRST) + [True]
    ordered = ordered.sort_values([*_KEPT_FIRST, "request"], ascending=ascending)
    return sorted(int(i) for i in ordered["request"].head(most))


def counts(flags: pd.DataFrame, chosen: Sequence[int]) -> dict[str, list[int]]:
    """Of all requests and of those with each flag: how many are shown, and how many there are."""
    shown = flags.loc[list(chosen)]
    return {"all": [len(shown), len(flags)]} | {
        name: [int(shown[name].sum()), int(flags[name].sum())] for name in FLAGS
    }


def in_order(of_runs: Sequence[Outcomes], chosen: Sequence[Sequence[int]]) -> list[Told]:
    """The chosen requests of all runs, the most telling first.

    One that was cured, one that broke a neighbor, one that spared the neighbors, then the next of
    each; within each kind the strongest first. The rest follows run by run.
    """
    kinds: list[list[Told]] = []
    for kind in TELLING:
        ranked = []
        for place, (one, ids) in enumerate(zip(of_runs, chosen, strict=True)):
            strength = dict(zip(one.flags.index, one.strength[kind].astype(float), strict=True))
            having = set(one.flags.index[one.flags[kind]])
            ranked += [(-strength[i], Told(place, i)) for i in ids if i in having]
        kinds.append([told for _, told in sorted(ranked)])
    telling = [told for turn in zip_longest(*kinds) for told in turn if told is not None]
    rest = [Told(place, i) for place, ids in enumerate(chosen) for i in ids]
    return list(dict.fromkeys([*telling, *rest]))
