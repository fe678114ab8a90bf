"""Facts of one's own: what a file may leave out, and all that is wrong with it at once."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modeledit.data.readers import OWN, load_requests
from modeledit.data.records import RequestError
from modeledit.data.requests import NO_TRUE_OBJECT, Neighbor

FRANCE = {"prompt": "The capital of France is", "subject": "France", "new_object": "Rome"}


def written(folder, *records, name="facts.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def read(folder, *records, **options):
    return load_requests(written(folder, *records, **options), OWN).requests


def refused(path):
    with pytest.raises(RequestError) as error:
        load_requests(path, OWN)
    return str(error.value)


def test_a_csv_with_the_needed_columns_alone(tmp_path):
    path = tmp_path / "facts.csv"
    path.write_text(
        "prompt,subject,new_object\n"
        "The capital of France is,France,Rome\n"
        "The capital of {} is,Japan,Peking\n"
    )
    first, second = load_requests(path, OWN).requests
    assert (first.id, first.prompt, first.text) == (0, "The capital of {} is", FRANCE["prompt"])
    assert (second.id, second.subject, second.target_new) == (1, "Japan", "Peking")
    for request in (first, second):
        assert request.target_true == NO_TRUE_OBJECT
        assert request.paraphrases == request.neighbors == ()


def test_cells_of_a_csv_hold_several_texts(tmp_path):
    path = tmp_path / "facts.csv"
    path.write_text(
        "prompt;subject;new_object;old_object;paraphrases;neighbors;neighbor_objects\n"
        "The capital of France is;France;Rome;Paris;{}'s capital is | Rule France from;"
        '"[""The capital of Spain is"", ""Berlin lies in""]";Madrid | Germany\n'
    )
    (request,) = load_requests(path, OWN).requests
    assert request.target_true == "Paris"
    assert request.paraphrases == ("France's capital is", "Rule France from")
    # A subject is known where the form is the fact's own.
    assert request.neighbors == (
        Neighbor("The capital of {} is", "Spain", "Madrid"),
        Neighbor("Berlin lies in", None, "Germany"),
    )


def test_neighbors_without_objects_share_the_old_one(tmp_path):
    (request,) = read(
        tmp_path,
        {
            "prompt": "Lyon is in",
            "subject": "Lyon",
            "new_object": "Peru",
            "old_object": "France",
            "neighbors": ["Nice is in", {"prompt": "Here is Lille in", "subject": "Lille"}],
        },
    )
    assert request.neighbors == (
        Neighbor("{} is in", "Nice", "France"),
        Neighbor("Here is {} in", "Lille", "France"),
    )


def test_a_neighbor_may_bring_its_own_object(tmp_path):
    neighbor = {"prompt": "The capital of Peru is", "object": "Lima"}
    (request,) = read(tmp_path, FRANCE | {"neighbors": [neighbor], "old_object": None})
    assert request.neighbors == (Neighbor("The capital of Peru is", None, "Lima"),)


def test_parquet_and_published_forms_are_read_too(tmp_path):
    path = tmp_path / "facts.parquet"
    pq.write_table(pa.Table.from_pylist([FRANCE | {"paraphrases": ["Rule France from"]}]), path)
    (request,) = load_requests(path, OWN).requests
    assert request.paraphrases == ("Rule France from",)
    flat = {
        "prompt": FRANCE["prompt"],
        "subject": "France",
        "target_new": "Rome",
        "ground_truth": "Paris",
    }
    (request,) = read(tmp_path, flat)
    assert (request.target_new, request.target_true) == ("Rome", "Paris")


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    path = written(
        tmp_path,
        FRANCE | {"subject": "Germany"},
        {"prompt": "The capital of Peru is", "subject": "Peru", "new": "Rome", "old_object": 7},
        FRANCE | {"old_object": "Rome"},
        FRANCE | {"neighbors": ["The capital of Spain is"]},
        FRANCE | {"neighbors": ["A is", "B is"], "neighbor_objects": ["C"]},
        FRANCE | {"paraphrases": {"a": "b"}},
        FRANCE | {"neighbors": [{"promt": "The capital of Peru is", "object": "Lima"}]},
        FRANCE | {"subject": "Germany", "colour": "red"},
    )
    head, *lines = refused(path).splitlines()
    assert head == f"{path}: 8 of 8 records cannot be used:"
    assert [line.split(":")[0].strip() for line in lines] == [f"line {i}" for i in range(1, 9)]
    for line, words in zip(
        lines,
        (
            ("'prompt'", "'Germany'", "reword the prompt"),
            ("'new_object': missing; add it", "'new': unknown; rename it", "'old_object'", "7"),
            ("'new_object'", "'Rome'", "is also the old object"),
            ("'neighbors[0]'", "give old_object", "neighbor_objects"),
            ("'neighbor_objects': 1 entries for 2",),
            ("'paraphrases'", "{'a': 'b'}", "list of texts"),
            ("'neighbors[0].promt': unknown", "'neighbors[0].prompt'"),
            ("'colour': unknown", "'Germany'", "reword the prompt"),
        ),
        strict=True,
    ):
        for word in words:
            assert word in line, line


def test_facts_that_contradict_each_other_are_refused_not_dropped(tmp_path):
    said = refused(written(tmp_path, FRANCE, FRANCE | {"new_object": "Oslo"}, FRANCE))
    assert "line 2: 'The capital of France is' -> 'Oslo' contradicts line 1" in said
    assert "line 3: 'The capital of France is' is edited already by line 1" in said
    assert said.count("keep one of the two") == 1


def test_a_file_of_another_kind_is_told_what_its_records_lack(tmp_path):
    said = refused(written(tmp_path, {"subject": "France", "prompt": "{} is", "target": "Rome"}))
    assert "field 'new_object': missing" in said and "field 'target': unknown" in said
