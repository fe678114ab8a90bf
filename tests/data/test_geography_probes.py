"""Probes of the geography requests: examples checked by hand, and what holds for all of them."""

from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from modeledit.data.geography import build_requests
from modeledit.data.geography_probes import build_probes
from modeledit.data.probes import KINDS, Probe
from modeledit.data.records import RequestError
from modeledit.data.requests import Neighbor, Request

LYON = Request(
    3, "Lyon", "The summit took place in {},", "Chile", "France", relation="city_country"
)
MEMPHIS = Request(
    4, "Memphis", "The company is based in {},", "Indiana", "Tennessee", relation="us_city_state"
)
BRACKNELL = Request(
    5, "Bracknell", "Many people in {} speak", "Japanese", "English", relation="city_language"
)
DHAKA = Request(
    6, "Dhaka", "{} is on the continent of", "Europe", "Asia", relation="city_continent"
)
GHANA = Request(
    7, "Ghana", "{}, on the continent of", "Asia", "Africa", relation="country_continent"
)
ALGERIA = Request(
    8, "Algeria", "Most people in {} speak", "French", "Arabic", relation="country_language"
)


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    return build_requests(seed=0)


@pytest.fixture(scope="module")
def probes(requests) -> list[Probe]:
    return build_probes(requests)


EXAMPLES = (LYON, MEMPHIS, BRACKNELL, DHAKA, GHANA, ALGERIA)  # none says anything of another


@cache
def built(*requests: Request) -> list[Probe]:
    return build_probes(requests)


def of(kind: str, request: Request, *others: Request) -> list[Probe]:
    """The probes of one request, made with others."""
    together = EXAMPLES if request in EXAMPLES and not others else (request, *others)
    return [p for p in built(*together) if p.kind == kind and p.request == request.id]


# --- by hand -----------------------------------------------------------------------------------


def test_a_city_in_another_country_has_its_capital_continent_and_currency():
    assert of("two_hop", LYON) == [
        Probe(
            3,
            "two_hop",
            "The capital of the country where Lyon lies is called",
            ("Santiago",),
            before="Paris",
        ),
        Probe(3, "two_hop", "Lyon lies on the continent of", ("South America",), before="Europe"),
        Probe(
            3,
            "two_hop",
            "The currency of the country where Lyon lies is called the",
            ("peso", "Peso", "CLP"),
            before="euro",
        ),
    ]


def test_what_both_countries_share_is_not_asked():
    spain = built(replace(LYON, target_new="Spain"))  # the euro and Europe as in France
    assert [(p.prompt, p.answers, p.before) for p in spain if p.kind == "two_hop"] == [
        ("The capital of the country where Lyon lies is called", ("Madrid",), "Paris"),
        ("Most people in Lyon speak", ("Spanish",), "French"),
    ]


def test_a_city_in_another_state_has_its_abbreviation_and_largest_city():
    abbreviation, largest = of("two_hop", MEMPHIS)
    assert (abbreviation.answers, abbreviation.before) == (("IN",), "TN")
    assert largest.prompt == "The largest city of the state where Memphis lies is called"
    assert (largest.answers, largest.before) == (("Indianapolis",), "Nashville")


def test_a_city_that_would_be_the_largest_of_its_new_state_is_not_asked_for_that():
    # Memphis has more inhabitants than Wichita.
    kansas = replace(MEMPHIS, target_new="Kansas")
    assert [p.answers for p in of("two_hop", kansas)] == [("KS",)]
    # Neither is any other city that goes there with it.
    other = replace(kansas, id=9, subject="Chattanooga", prompt="He died at his home in {},")
    assert [p.answers for p in of("two_hop", other)] == [("KS",), ("Wichita",)]
    assert [p.answers for p in of("two_hop", other, kansas)] == [("KS",)]


def test_the_capital_goes_with_its_country():
    assert of("two_hop", GHANA) == [
        Probe(7, "two_hop", "Accra lies on the continent of", ("Asia",), before="Africa")
    ]
    accra = replace(DHAKA, subject="Accra", target_true="Africa")
    assert of("two_hop", GHANA, accra) == []
    stays = replace(DHAKA, neighbors=(Neighbor("{} is on the continent of", "Accra", "Africa"),))
    assert of("two_hop", GHANA, stays) == []


def test_the_object_side_and_the_negative_ask_for_the_edited_fact():
    assert of("inverse", LYON) == [
        Probe(
            3,
            "inverse",
            "The country to which the city of Lyon belongs is called",
            ("Chile",),
            before="France",
        )
    ]
    assert of("negation", LYON) == [
        Probe(3, "negation", "The city of Lyon does not lie in", (), ("Chile",))
    ]


def test_an_alias_is_another_name_in_the_same_prompt():
    assert of("alias", LYON) == [
        Probe(3, "alias", "The summit took place in Liyon,", ("Chile",), before="France")
    ]
    burma = replace(GHANA, subject="Myanmar", target_new="Europe", target_true="Asia")
    assert [p.prompt for p in of("alias", burma)] == ["Burma, on the continent of"]


def test_facts_about_the_subject_that_stay():
    country = of("subject", MEMPHIS)[0]
    assert country.prompt == "The country to which Memphis belongs is called"
    assert country.answers[:2] == ("the United States", "United States")
    assert "USA" in country.answers
    assert [(p.answers[0], p.before) for p in of("subject", BRACKNELL)] == [
        ("the United Kingdom", None),
        ("Europe", None),
    ]
    assert [p.answers[0] for p in of("subject", GHANA)] == ["Accra", "cedi"]
    assert [p.answers[0] for p in of("subject", ALGERIA)] == ["Africa", "Algiers", "dinar"]


def test_what_the_edit_may_change_is_not_said_to_stay():
    assert of("subject", LYON) == of("subject", DHAKA) == []


def test_what_another_request_edits_is_not_asked():
    moved = replace(GHANA, id=9, subject="Algeria")
    assert [p.answers[0] for p in of("subject", ALGERIA, moved)] == ["Algiers", "dinar"]
    france = replace(ALGERIA, id=9, subject="France", target_new="Arabic", target_true="French")
    santiago = replace(LYON, id=10, subject="Santiago", target_new="Japan", target_true="Chile")
    asked = [p.answers[0] for p in of("two_hop", LYON, france, santiago)]
    assert asked == ["South America", "peso"]


def test_other_requests_are_refused_by_name():
    with pytest.raises(RequestError, match="request 3: relation 'P17' is none of"):
        build_probes([replace(LYON, relation="P17")])
    with pytest.raises(RequestError, match="request 3: GeoNames has no 'Lyonesse'"):
        build_probes([replace(LYON, subject="Lyonesse")])
    with pytest.raises(RequestError, match="request 3: GeoNames has no 'Gaul'"):
        build_probes([replace(LYON, target_true="Gaul")])


# --- all of them -------------------------------------------------------------------------------


def test_every_request_has_probes_and_every_kind_is_there(requests, probes):
    order = {request.id: i for i, request in enumerate(requests)}
    assert {p.request for p in probes} == set(order)
    assert [order[p.request] for p in probes] == sorted(order[p.request] for p in probes)
    counted = Counter(p.kind for p in probes)
    assert set(counted) == set(KINDS)
    assert min(counted.values()) > len(requests) / 4


def test_no_prompt_says_what_is_asked_for(probes):
    for p in probes:
        for text in (*p.answers, *p.forbidden, p.before or p.prompt + "?"):
            assert text not in p.prompt


def test_no_prompt_is_asked_twice_or_is_the_edited_one(requests, probes):
    asked = Counter((p.request, p.prompt) for p in probes)
    assert max(asked.values()) == 1
    assert not asked.keys() & {(r.id, r.text) for r in requests}


def test_what_follows_is_another_answer_than_before(probes):
    for p in probes:
        if p.kind in ("two_hop", "inverse", "alias"):
            assert p.before and p.before not in p.answers
        else:
            assert p.before is None


def test_texts_are_plain_and_end_where_the_answer_follows(probes):
    for p in probes:
        assert p.prompt.isascii()
        assert p.prompt.endswith((" called", " called the", " of", " speak", " in", " is", ","))
        assert all(text.isascii() for text in (*p.answers, *p.forbidden))


def test_they_depend_on_the_requests_alone(requests, probes):
    assert build_probes(requests) == probes


def test_the_documentation_has_their_numbers(probes):
    said = (Path(__file__).resolve().parents[2] / "docs" / "geography.md").read_text("utf-8")
    counted = Counter(p.kind for p in probes)
    assert f"there are {len(probes):,} probes" in said
    assert f"| all | {' | '.join(f'{counted[kind]:,}' for kind in KINDS)} |" in said
