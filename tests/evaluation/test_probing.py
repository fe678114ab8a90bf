"""Probes: what follows from an edit, what stays, and what must not be said."""

from dataclasses import dataclass

import pytest

from modeledit.evaluation.probing import by_place, request_probes
from tests.made_up_behavior import forced, said


@dataclass(frozen=True)
class Asked:
    request: int
    kind: str
    prompt: str
    answers: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()


PROBES = (
    Asked(3, "two_hop", "They pay in", ("yen", "JPY")),
    Asked(3, "two_hop", "They speak", ("Japanese",)),
    Asked(3, "subject", "Its river is", ("Rhône",)),
    Asked(3, "negation", "Lyon is not in", forbidden=("Japan",)),
    Asked(4, "two_hop", "They pay in", ("yen",)),
)


def test_probes_are_counted_by_request_and_kind():
    assert list(by_place(PROBES)) == [
        (3, "two_hop", 0), (3, "two_hop", 1), (3, "subject", 0), (3, "negation", 0),
        (4, "two_hop", 0),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="probes: 'guess' of request 1 is none of two_hop"):
        by_place([Asked(1, "guess", "x")])


def test_each_kind_is_a_mean_over_its_probes():
    generations = said(
        [
            (3, "two_hop", 0, "They pay in", " about 5 JPY"),
            (3, "two_hop", 1, "They speak", " French"),
            (3, "subject", 0, "Its river is", " the Rhône"),
            (3, "negation", 0, "Lyon is not in", " France but in Japan"),
            (4, "two_hop", 0, "They pay in", " euros"),
        ]
    )
    scores = forced(
        {(3, "two_hop", 0): True, (3, "two_hop", 1): True, (3, "negation", 0): True}
        | {(4, "two_hop", 0): False}
    )
    found = request_probes(by_place(PROBES), generations, scores)
    values = {(row["request"], row["metric"]): row["value"] for row in found.to_dict("records")}
    assert values == {
        (3, "two_hop_said"): 0.5,  # (1 + 0) / 2
        (3, "subject_said"): 1.0,
        (3, "negation_held"): 0.0,  # o* is said
        (4, "two_hop_said"): 0.0,
        (3, "two_hop_forced"): 1.0,
        (4, "two_hop_forced"): 0.0,
    }


def test_rows_of_other_probes_are_named():
    places = by_place(PROBES)
    with pytest.raises(ValueError, match="request 9, two_hop 0 is none of the probes"):
        request_probes(places, said([(9, "two_hop", 0, "They pay in", "yen")]))
    with pytest.raises(ValueError, match="continues 'They eat', the probe is 'They pay in'"):
        request_probes(places, said([(3, "two_hop", 0, "They eat", "rice")]))
