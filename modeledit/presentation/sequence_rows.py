"""Planned sequences of batches and how far they came, for the report."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from modeledit.evaluation.sequences import by_sequence, read_sequences
from modeledit.study.layout import Sequence


@dataclass(frozen=True)
class SequenceRow:
    """A planned sequence of batches: the batches done, and values after the last of them.

    ``retained`` is efficacy success of all batches but the last. What follows ``done`` is None of a
    sequence that was not run.
    """

    dataset: str
    model: str
    method: str
    trial: int
    size: int
    count: int
    done: int = 0  # batches
    iterations: float | None = None  # of a batch, the mean
    eff_succ: float | None = None
    retained: float | None = None
    spec_succ: float | None = None
    me_ppl: float | None = None
    collapsed: bool | None = None


def sequence_rows(planned: Iterable[Sequence], path: Path | None) -> list[SequenceRow]:
    """One row per planned sequence, from sequences.csv."""
    measured = {} if path is None else dict(by_sequence(read_sequences([path])))
    rows = []
    for one in planned:
        row = SequenceRow(*one.key, one.count)
        of = measured.get(one.key)
        if of is None or not of["batch"].max():
            rows.append(row)
            continue
        every = of[(of["group"] == "all") & (of["batch"] > 0)]
        done = int(every["batch"].max())
        last = every[every["batch"] == done].iloc[0]
        earlier = of.loc[(of["batch"] == done) & (of["group"] == "earlier"), "eff_succ"]
        rows.append(
            replace(
                row,
                done=done,
                iterations=float(every["iterations"].mean()),
                eff_succ=float(last["eff_succ"]),
                retained=None if earlier.empty else float(earlier.iloc[0]),
                spec_succ=float(last["spec_succ"]),
                me_ppl=float(last["me_ppl"]),
                collapsed=bool(every["collapsed"].any()),
            )
        )
    return rows
