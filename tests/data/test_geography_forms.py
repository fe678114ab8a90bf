"""Built-in facts for a prompt of the user's: the same form, the same object where it is known."""

import pytest

from modeledit.data.geography_forms import known_facts, neighbors_of, panel, with_neighbors
from modeledit.data.requests import NO_TRUE_OBJECT, Neighbor, Request

FACTS = {(fact.relation, fact.subject, fact.object) for fact in known_facts()}


def request(subject, prompt, old=NO_TRUE_OBJECT, new="Oslo", **more):
    return Request(0, subject, prompt, new, old, **more)


@pytest.mark.parametrize(
    ("prompt", "relation"),
    [
        ("The capital of {} is", "country_capital"),
        ("the  capital of {} is ", "country_capital"),
        ("{} is the capital of", "capital_country"),
    ],
)
def test_a_form_says_the_relation(prompt, relation):
    subject = "France" if relation == "country_capital" else "Paris"
    found = neighbors_of(request(subject, prompt), {subject})
    assert len(found) == 10
    for neighbor in found:
        assert neighbor.prompt == prompt and neighbor.subject != subject
        assert (relation, neighbor.subject, neighbor.target) in FACTS


def test_neighbors_share_the_old_object_where_some_do():
    found = neighbors_of(request("Mexico", "Most people in {} speak", "Spanish"), {"Mexico"})
    assert found and {neighbor.target for neighbor in found} == {"Spanish"}
    # The subject is a country, and so are its neighbors, though cities have prompts of this form.
    countries = {s for relation, s, _ in FACTS if relation == "country_language"}
    assert {neighbor.subject for neighbor in found} <= countries


def test_no_neighbor_is_edited_or_has_the_new_object():
    asked = request("France", "The capital of {} is", "Paris", new="Beijing")
    subjects = {n.subject for n in neighbors_of(asked, {"France", "India"})}
    assert subjects and not subjects & {"France", "India", "China"}


def test_a_prompt_of_no_known_form_has_none():
    assert neighbors_of(request("France", "The best cheese of {} is"), {"France"}) == ()


def test_what_was_given_stays():
    own = (Neighbor("Here is", None, "Lima"),)
    given = request("France", "The capital of {} is", neighbors=own)
    asked = Request(1, "Japan", "The capital of {} is", "Oslo", NO_TRUE_OBJECT)
    first, second = with_neighbors([given, asked])
    assert first is given and len(second.neighbors) == 10
    assert "France" not in {neighbor.subject for neighbor in second.neighbors}


def test_the_panel_is_fixed_and_varied():
    facts = panel()
    assert facts == panel() and len({fact.text for fact in facts}) == len(facts) > 200
    assert len({fact.target for fact in facts}) > 60
    for fact in facts:
        assert any((fact.subject, fact.target) == known[1:] for known in FACTS)
