"""What follows from an edit, and what must not: how a model takes the probes of its requests.

A probe is answered where its continuation mentions one of its answers, whichever of their names it
takes (`generation.contains`); by teacher forcing where every token of the first answer is the
argmax. A negation ("... is not") has no answer: it holds where the continuation does not say o*.
Two hops: MQuAKE (arXiv:2305.14795); inverse: KnowEdit (arXiv:2401.01286); aliases and other facts
of the subject: RippleEdits (arXiv:2307.12976).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

import pandas as pd

from modeledit.evaluation.behavior_metrics import NEGATION, PROBE_KINDS
from modeledit.evaluation.generation import FORCED_COLUMNS, contains, hits, mean_values
from modeledit.evaluation.schemas import GENERATIONS, RAW_SCORES
from modeledit.io.frames import require_columns

Place = tuple[int, str, int]  # request, kind, and which of its probes of this kind, from 0


class Probe(Protocol):
    """What is known of a probe (`data.probes`)."""

    @property
    def request(self) -> int:
        """Id of the request whose edit it asks about."""

    @property
    def kind(self) -> str:
        """One of PROBE_KINDS."""

    @property
    def prompt(self) -> str:
        """Full text, to be continued."""

    @property
    def answers(self) -> tuple[str, ...]:
        """What should be said: a name, and then its aliases."""

    @property
    def forbidden(self) -> tuple[str, ...]:
        """What must not be said."""


def by_place(probes: Iterable[Probe]) -> dict[Place, Probe]:
    """The probes by request, kind and index: they are counted in their order.

    Raises ValueError for an unknown kind.
    """
    found: dict[Place, Probe] = {}
    counts: dict[tuple[int, str], int] = {}
    for probe in probes:
        if probe.kind not in PROBE_KINDS:
            raise ValueError(
                f"probes: {probe.kind!r} of request {probe.request} is none of"
                f" {', '.join(PROBE_KINDS)}; correct the kind"
            )
        key = (probe.request, probe.kind)
        counts[key] = counts.get(key, -1) + 1
        found[(*key, counts[key])] = probe
    return found


def request_probes(
    probes: Mapping[Place, Probe],
    generations: pd.DataFrame | None = None,
    scores: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """How each request's probes are taken: ``request``, ``metric``, ``value``.

    ``probes`` as of `by_place`, ``generations`` and ``scores`` the rows of
    probe_generations.parquet and probes.parquet. Metrics are {kind}_said, {kind}_forced and
    negation_held, means over the request's probes of a kind. Raises ValueError where a row is of
    none of the probes, or of another prompt.
    """
    found: list[tuple[int, str, float]] = []
    if generations is not None:
        require_columns(generations, GENERATIONS.names, "probe_generations.parquet")
        found += _said(generations, probes)
    if scores is not None:
        require_columns(scores, FORCED_COLUMNS, "probes.parquet")
        found += _forced(scores, probes)
    return mean_values(found)


def _said(
    generations: pd.DataFrame, probes: Mapping[Place, Probe]
) -> Iterator[tuple[int, str, float]]:
    for row in generations.to_dict("records"):
        probe = _probe(probes, row, "probe_generations.parquet")
        if probe.prompt != row["prompt"]:
            raise ValueError(
                f"probe_generations.parquet: {_name(row)} continues {row['prompt']!r}, the probe is"
                f" {probe.prompt!r}; continue these probes again"
            )
        if probe.kind == NEGATION:
            yield probe.request, "negation_held", not contains(row["text"], probe.forbidden)
        else:
            yield probe.request, f"{probe.kind}_said", contains(row["text"], probe.answers)


def _forced(
    scores: pd.DataFrame, probes: Mapping[Place, Probe]
) -> Iterator[tuple[int, str, float]]:
    rows = scores[(scores["object"] == "new") & (scores["kind"] != NEGATION)]
    for row, hit in zip(rows.to_dict("records"), hits(rows), strict=True):
        probe = _probe(probes, row, RAW_SCORES.file)
        yield probe.request, f"{probe.kind}_forced", hit


def _probe(probes: Mapping[Place, Probe], row: Mapping, where: str) -> Probe:
    """The probe of a row."""
    found = probes.get((row["request"], row["kind"], row["index"]))
    if found is None:
        raise ValueError(f"{where}: {_name(row)} is none of the probes; make the file again")
    return found


def _name(row: Mapping) -> str:
    return f"request {row['request']}, {row['kind']} {row['index']}"
