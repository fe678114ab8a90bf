"""Whole files to requests: forms by their name, all bad records at once, facts that contradict."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledit.data import normalisation as rules
from modeledit.data.readers import READERS, load_requests, read_counterfact, read_me_ppl
from modeledit.data.records import RequestError
from modeledit.data.requests import Neighbor, read_requests, write_requests
from tests.data.forms import counterfact_record, dump, eligible_record, zsre_record


def fact(id, subject="Lyon", new="Japan", true="France", prompt="{} is in", **changes):
    rewrite = {
        "prompt": prompt,
        "subject": subject,
        "relation_id": "P17",
        "target_new": {"str": new},
        "target_true": {"str": true},
    }
    return {
        "case_id": id,
        "requested_rewrite": rewrite,
        "paraphrase_prompts": [f"The city of {subject} lies in"],
        "neighborhood_prompts": ["Nice is in", "Lille is in"],
    } | changes


def flat(**changes):
    """A record of EasyEdit's flat CounterFact."""
    return {
        "case_id": 5,
        "prompt": "The mother tongue of Marie Curie is",
        "subject": "Marie Curie",
        "target_new": "English",
        "ground_truth": "Polish",
        "rephrase_prompt": "Marie Curie grew up with",
        "locality_prompt": "Frédéric Chopin spoke",
        "locality_ground_truth": "Polish",
    } | changes


# --- all bad records at once -------------------------------------------------------------------


def test_every_bad_record_is_named_with_id_field_value_and_way_out(tmp_path):
    records = [fact(i, f"Town{i}") for i in range(8)]
    records[1]["requested_rewrite"]["prompt"] = "Town1 or {} is in"
    records[4]["requested_rewrite"]["target_new"]["str"] = "France "
    records[6]["case_id"] = 10**20
    path = dump(tmp_path / "mine.json", records)
    with pytest.raises(RequestError) as error:
        load_requests(path, "counterfact")
    head, *said = str(error.value).splitlines()
    assert head.startswith(f"{path}: 3 of 8 records cannot be used")
    assert len(said) == 3
    assert said[0].startswith("  record 2 (id 1): field 'prompt': the subject 'Town1' must occur")
    assert "found 2 times in 'Town1 or Town1 is in'; drop the record or reword" in said[0]
    assert said[1].startswith("  record 5 (id 4): field 'requested_rewrite.target_new': 'France'")
    assert said[2].startswith("  record 7 (id 100000000000000000000): field 'case_id': expected")


def test_of_many_bad_records_ten_are_shown_and_all_are_counted(tmp_path):
    path = dump(tmp_path / "mine.json", [fact(i, f"Town{i}", new="France") for i in range(30)])
    with pytest.raises(RequestError) as error:
        load_requests(path, "counterfact")
    head, *said = str(error.value).splitlines()
    assert "30 of 30 records" in head
    assert len(said) == 11 and said[-1] == "  and 20 more"


def test_bad_records_can_be_left_out_and_are_named(tmp_path):
    records = [fact(i, f"Town{i}") for i in range(4)]
    records[2]["requested_rewrite"]["subject"] = 5
    text = "\n".join([*(json.dumps(r) for r in records), '{"case_id": 9'])
    path = tmp_path / "mine.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RequestError, match="2 of 5 records"):
        load_requests(path, "counterfact")
    loaded = load_requests(path, "counterfact", skip_bad=True)
    assert [r.id for r in loaded.requests] == [0, 1, 3]
    assert [(p.place, p.id) for p in loaded.left_out] == [("line 3", "2"), ("line 5", "")]
    assert loaded.lines()[0] == "2 records left out:"
    assert "line 5: not JSON" in loaded.lines()[2]
    record = loaded.record()
    assert record["requests"] == 3 and len(record["left_out"]) == 2
    assert json.loads(json.dumps(record)) == record


def test_a_file_without_any_good_record_is_refused_all_the_same(tmp_path):
    path = dump(tmp_path / "mine.json", [fact(1, new="France"), fact(2, "Nice", new="France")])
    with pytest.raises(RequestError, match="(?s)2 of 2 records.*no request is left"):
        load_requests(path, "counterfact", skip_bad=True)


def test_an_id_twice_names_both_records(tmp_path):
    path = dump(tmp_path / "mine.json", [fact(7), fact(8, "Nancy"), fact(7, "Metz")])
    with pytest.raises(RequestError, match=r"record 3 \(id 7\): .*occurs already in record 1"):
        load_requests(path, "counterfact")
    assert len(load_requests(path, "counterfact", skip_bad=True).requests) == 2


def test_without_any_id_records_are_numbered_and_with_some_the_others_lack_theirs(tmp_path):
    records = [fact(0), fact(0, "Metz"), fact(0, "Nancy")]
    for record in records:
        del record["case_id"]
    loaded = load_requests(dump(tmp_path / "mine.json", records), "counterfact")
    assert [r.id for r in loaded.requests] == [0, 1, 2]
    records[1]["case_id"] = 4
    with pytest.raises(RequestError, match="(?s)record 1: .*'case_id': missing.*record 3"):
        load_requests(dump(tmp_path / "mine.json", records), "counterfact")


# --- facts that contradict each other ----------------------------------------------------------


def test_of_contradicting_facts_the_first_counts_and_both_are_named(tmp_path):
    records = [fact(4), fact(3, new="Peru"), fact(2, prompt="{} lies in"), fact(1, " Lyon")]
    loaded = load_requests(dump(tmp_path / "mine.json", records), "counterfact")
    assert [(r.id, r.target_new) for r in loaded.requests] == [(4, "Japan"), (2, "Japan")]
    contradiction, repetition = map(str, loaded.left_out)
    assert contradiction == (
        "record 2 (id 3): 'Lyon is in' -> 'Peru' contradicts record 1 (id 4), 'Japan'; the first "
        "one counts"
    )
    assert repetition == "record 4 (id 1): 'Lyon is in' is edited already by record 1 (id 4)"
    assert loaded.notes == {}  # the record that had something to note is not among the requests


# --- forms -------------------------------------------------------------------------------------


def test_flat_counterfact_is_read_from_json_parquet_and_csv(tmp_path):
    loaded = load_requests(dump(tmp_path / "flat.json", [flat()]), "counterfact")
    (request,) = loaded.requests
    assert loaded.notes == {}
    assert (request.id, request.prompt) == (5, "The mother tongue of {} is")
    assert (request.target_new, request.target_true) == ("English", "Polish")
    assert request.paraphrases == ("Marie Curie grew up with",)
    assert request.neighbors == (Neighbor("Frédéric Chopin spoke", None, "Polish"),)

    pq.write_table(pa.Table.from_pylist([flat()]), tmp_path / "flat.parquet")
    assert load_requests(tmp_path / "flat.parquet", "counterfact").requests == [request]
    header, row = ",".join(flat()), ",".join(str(value) for value in flat().values())
    (tmp_path / "flat.csv").write_text(f"{header}\n{row}\n", encoding="utf-16")
    from_csv = load_requests(tmp_path / "flat.csv", "counterfact")
    assert from_csv.requests == [request]
    assert from_csv.notes == {rules.IDS: [5]}


def test_flat_counterfact_may_have_lists_or_less(tmp_path):
    more = flat(
        rephrase_prompt=["Marie Curie spoke", "Marie Curie wrote"],
        locality_prompt=["Chopin spoke", "Conrad spoke"],
        locality_ground_truth=["Polish", "Polish"],
    )
    optional = ("rephrase_prompt", "locality_prompt", "locality_ground_truth")
    less = {k: v for k, v in flat(case_id=6, prompt="{} spoke").items() if k not in optional}
    both = load_requests(dump(tmp_path / "flat.json", [more, less]), "counterfact").requests
    assert [len(r.paraphrases) for r in both] == [2, 0]
    assert [len(r.neighbors) for r in both] == [2, 0]
    uneven = flat(locality_prompt=["Chopin spoke", "Conrad spoke"])
    with pytest.raises(RequestError, match="'locality_ground_truth': 1 entries for 2"):
        load_requests(dump(tmp_path / "flat.json", [uneven]), "counterfact")


def test_counterfact_is_read_from_parquet(tmp_path):
    pq.write_table(pa.Table.from_pylist([counterfact_record()]), tmp_path / "cf.parquet")
    assert (
        load_requests(tmp_path / "cf.parquet", "counterfact").requests
        == load_requests(dump(tmp_path / "cf.json", [counterfact_record()]), "counterfact").requests
    )


MQUAKE = {
    "case_id": 1,
    "requested_rewrite": [fact(1)["requested_rewrite"]],
    "questions": ["Where does it lie?"],
    "new_single_hops": [],
}
KNOWEDIT = {
    "subject": "Lyon",
    "prompt": "Lyon is in",
    "target_new": "Japan",
    "portability": {"Reasoning": []},
    "locality": {"Relation_Specificity": [{"prompt": "Nice is in", "ground_truth": [["France"]]}]},
}
OWN = {
    "id": 1,
    "subject": "Lyon",
    "prompt": "{} is in",
    "target_new": "Japan",
    "target_true": "France",
    "paraphrases": [],
    "neighbors": [],
}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (MQUAKE, "its records are MQuAKE, expected CounterFact.*several edits at once"),
        (KNOWEDIT, "its records are KnowEdit, .*no old object.*write each edit as a record"),
        ({"text": "a", "labels": "b", "concept": "c"}, "KnowEdit's WikiBio.*whole texts"),
        (
            {"prompt": "{} is in", "subject": "Lyon", "target": "Japan", "queries": []},
            "FastEdit, .*no old object",
        ),
        (zsre_record(), "its records are zsRE, .*give the dataset `source: zsre`"),
        (eligible_record(), "its records are eligible, .*passed the authors' own filter"),
        (OWN, "of this project"),
        ({"color": "red", "size": 3}, r"no known form \(the first one has 'color', 'size'\)"),
        ({}, "no known form .the first one has no fields"),
        ("x", "no known form .the first one has 'x'"),
    ],
)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_other_forms_are_refused_by_name_with_what_to_do(tmp_path, record, message, skip_bad):
    path = dump(tmp_path / "mine.json", [record])
    with pytest.raises(RequestError, match=message) as error:
        load_requests(path, "counterfact", skip_bad=skip_bad)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_counterfact_as_zsre_says_which_source_to_give(tmp_path):
    for record in (fact(1), flat()):
        with pytest.raises(RequestError, match="expected zsRE: give .*`source: counterfact`"):
            load_requests(dump(tmp_path / "mine.json", [record]), "zsre")


def test_zsre_without_answers_says_whose_it_is(tmp_path):
    record = zsre_record()
    del record["answers"]
    with pytest.raises(RequestError, match="'answers': missing; o.* EasyEdit edits `alt`"):
        load_requests(dump(tmp_path / "mine.json", [record]), "zsre")


def test_zsre_may_have_its_one_answer_as_a_text(tmp_path):
    header, row = zip(*zsre_record(answers="Daniel Libeskind").items(), strict=True)
    (tmp_path / "mine.tsv").write_text("\n".join(["\t".join(header), "\t".join(row)]))
    (request,) = load_requests(tmp_path / "mine.tsv", "zsre").requests
    assert request.target_new == "Daniel Libeskind"


def test_zsre_answers_with_blanks_are_mended_for_users_and_kept_as_published(tmp_path):
    path = dump(tmp_path / "mine.json", [zsre_record(answers=[" Daniel Libeskind"])])
    loaded = load_requests(path, "zsre")
    assert loaded.requests[0].target_new == "Daniel Libeskind"
    assert loaded.notes == {rules.BLANKS: [0]}
    assert READERS["zsre"](path)[0].target_new == " Daniel Libeskind"


def test_a_zsre_subject_in_other_letters_is_named(tmp_path):
    path = dump(tmp_path / "mine.json", [zsre_record(subject="life electric")])
    with pytest.raises(RequestError, match="'src': the subject 'life .* occurs as 'Life Electric'"):
        load_requests(path, "zsre")


def test_copies_of_neighbors_stay_as_published_only(tmp_path):
    twice = fact(1, neighborhood_prompts=["Nice is in", "Nice is in"])
    path = dump(tmp_path / "mine.json", [twice])
    assert len(read_counterfact(path)[0].neighbors) == 2
    loaded = load_requests(path, "counterfact")
    assert len(loaded.requests[0].neighbors) == 1
    assert loaded.lines() == [f"{rules.COPIES}: 1 request (1)"]


def test_more_neighbors_than_can_be_scored_are_one_line(tmp_path):
    many = fact(1, neighborhood_prompts=[f"Town{i} is in" for i in range(40_000)])
    path = dump(tmp_path / "mine.json", [many])
    with pytest.raises(RequestError) as error:
        load_requests(path, "counterfact")
    assert str(error.value) == (
        f"{path}, record 1 (id 1): field 'neighbors': 40000 entries, at most 32768 can be scored; "
        "leave some out"
    )


def test_bad_utterances_are_all_named(tmp_path):
    path = dump(tmp_path / "t.json", [{"Text": "a"}, {"Corpus": "C4"}, {"Text": " "}, 5])
    with pytest.raises(RequestError, match="(?s)3 of 4 records cannot be used:.*2.*3.*record 4"):
        read_me_ppl(path)


# --- anything ----------------------------------------------------------------------------------

texts = st.text(st.characters(), max_size=5) | st.sampled_from(["{}", "Lyon is", "Lyon", "\ud800"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
SOUND = [fact(1), counterfact_record(), flat(), zsre_record(), eligible_record()]


@st.composite
def damaged(draw):
    """A sound record of some form of which a few values, at any depth, are anything at all."""
    record = json.loads(json.dumps(draw(st.sampled_from(SOUND))))
    for _ in range(draw(st.integers(0, 3))):
        at = record
        while True:
            keys = list(at) if isinstance(at, dict) else range(len(at))
            key = draw(st.sampled_from(keys))
            deeper = isinstance(at[key], dict | list) and at[key]
            if not deeper or draw(st.booleans()):
                break
            at = at[key]
        if draw(st.booleans()) or isinstance(at, list):
            at[key] = draw(values)
        elif len(at) > 1:
            del at[key]
    return record


@given(
    records=st.lists(damaged(), min_size=1, max_size=3) | values,
    kind=st.sampled_from(list(READERS)),
    skip_bad=st.booleans(),
    as_published=st.booleans(),
)
def test_any_json_is_requests_or_refused(tmp_path_factory, records, kind, skip_bad, as_published):
    path = dump(tmp_path_factory.getbasetemp() / "any.json", records)
    try:
        loaded = load_requests(path, kind, skip_bad, as_published)
    except RequestError as error:
        assert str(error).startswith(str(path))
        str(error).encode()
        return
    assert loaded.requests
    json.dumps(loaded.record(), ensure_ascii=False).encode()
    "\n".join(loaded.lines()).encode()
    write_requests(path.with_name("any.jsonl"), loaded.requests)
    assert read_requests(path.with_name("any.jsonl")) == loaded.requests


@given(records=values | st.lists(st.fixed_dictionaries({"Text": values}), max_size=3))
def test_any_json_is_utterances_or_refused(tmp_path_factory, records):
    path = dump(tmp_path_factory.getbasetemp() / "any.json", records)
    try:
        assert read_me_ppl(path)
    except RequestError as error:
        assert str(error).startswith(str(path))
