"""Probes from files: each format's fields, what they become, and what is refused by its name."""

import json

import pytest

from modeledit.data.probe_readers import (
    FORMATS,
    Edit,
    FileProbe,
    Statement,
    attach,
    read_knowedit,
    read_mquake,
    read_own,
    read_ripple_edits,
)
from modeledit.data.probes import Probe
from modeledit.data.records import RequestError
from modeledit.data.requests import Request
from tests.data.forms import dump

LYON = Request(3, "Lyon", "The city of {} lies in", "Chile", "France")
OSAKA = Request(4, "Osaka", "The city of {} lies in", "Peru", "Japan")
PORT = Edit("Lyon", "Chile")


def mquake(**changes):
    def rewrite(subject, new, true):
        return {
            "prompt": "{} lies in",
            "subject": subject,
            "target_new": {"str": new},
            "target_true": {"str": true},
        }

    return {
        "case_id": 1,
        "requested_rewrite": [
            rewrite("Lyon", "Chile", "France"),
            rewrite("Osaka", "Peru", "Japan"),
        ],
        "questions": ["Where is the money of Lyon's country made?", "Who makes it? "],
        "answer": "Pessac",
        "answer_alias": [],
        "new_answer": "Lima",
        "new_answer_alias": ["Ciudad de los Reyes", "Lima"],
        "single_hops": [],
        "new_single_hops": [],
    } | changes


def query(prompt, *answers):
    return {
        "prompt": prompt,
        "answers": [{"value": one, "aliases": [f"{one} city"]} for one in answers],
        "query_type": "regular",
    }


def ripple(**changes):
    def test(*queries):
        return {"test_queries": list(queries), "test_condition": "OR", "condition_queries": []}

    return {
        "example_type": "popular",
        "edit": {
            "prompt": "The city of Lyon lies in Chile.",
            "subject_id": "Q456",
            "target_id": "Q298",
            "original_fact": {"prompt": "The city of Lyon lies in France."},
        },
        "Relation_Specificity": [test(query("The river of Lyon is", "Rhone"))],
        "Logical_Generalization": [test(query("Chile has the city of", "Lyon"))],
        "Subject_Aliasing": [test(query("Lugdunum lies in", "Chile"))],
        "Compositionality_I": [test(query("The capital is", "Santiago"), query("Nothing is"))],
        "Compositionality_II": [test(query("The river's land is", "Chile"))],
        "Forgetfulness": [test(query("Another land is", "Gaul"))],
    } | changes


def knowedit(**changes):
    return {
        "subject": "Lyon",
        "prompt": "The land of Lyon is",
        "target_new": "Chile",
        "ground_truth": "France",
        "portability": {
            "Reasoning": [{"prompt": "The capital is", "ground_truth": [["Santiago", "SCL"]]}],
            "Subject_Aliasing": [{"prompt": "Lugdunum's land is", "ground_truth": "Chile"}],
            "Logical_Generalization": [{"prompt": "Chile has", "ground_truth": ["Lyon", ""]}],
        },
        "locality": {
            "Relation_Specificity": [{"prompt": "The river is", "ground_truth": "Rhone"}],
            "Forgetfulness": [{"prompt": "Another land is", "ground_truth": [[""]]}],
        },
    } | changes


def own(**changes):
    return {
        "subject": "Lyon",
        "target_new": "Chile",
        "kind": "two_hop",
        "prompt": "The capital is",
        "answers": ["Santiago"],
    } | changes


# --- what a record becomes ---------------------------------------------------------------------


def test_questions_of_mquake_rest_on_all_edits_of_their_record(tmp_path):
    edits = (PORT, Edit("Osaka", "Peru"))
    answers = ("Lima", "Ciudad de los Reyes")
    assert read_mquake(dump(tmp_path / "m.json", [mquake()])) == [
        FileProbe(
            edits,
            "two_hop",
            "Where is the money of Lyon's country made?",
            answers,
            before="Pessac",
        ),
        FileProbe(edits, "two_hop", "Who makes it?", answers, before="Pessac"),
    ]


def test_an_answer_of_mquake_that_stays_is_none_from_before(tmp_path):
    path = dump(tmp_path / "m.json", [mquake(answer="Lima", new_answer_alias=None)])
    assert {(p.answers, p.before) for p in read_mquake(path)} == {(("Lima",), None)}


def test_criteria_of_ripple_edits_become_kinds(tmp_path):
    probes = read_ripple_edits(dump(tmp_path / "r.json", [ripple()]))
    assert {probe.edits for probe in probes} == {(Statement("The city of Lyon lies in Chile"),)}
    assert [(p.kind, p.prompt, p.answers) for p in probes] == [
        ("subject", "The river of Lyon is", ("Rhone", "Rhone city")),
        ("inverse", "Chile has the city of", ("Lyon", "Lyon city")),
        ("alias", "Lugdunum lies in", ("Chile", "Chile city")),
        ("two_hop", "The capital is", ("Santiago", "Santiago city")),
        ("two_hop", "The river's land is", ("Chile", "Chile city")),
        ("subject", "Another land is", ("Gaul", "Gaul city")),
    ]


def test_both_spellings_of_a_criterion_are_read(tmp_path):
    record = ripple()
    record["Relation_Specifity"] = record.pop("Relation_Specificity")
    kinds = [p.kind for p in read_ripple_edits(dump(tmp_path / "r.json", [record]))]
    assert kinds.count("subject") == 2


def test_portability_and_locality_of_knowedit_become_kinds(tmp_path):
    probes = read_knowedit(dump(tmp_path / "k.json", [knowedit()]))
    assert {probe.edits for probe in probes} == {(PORT,)}
    assert [(p.kind, p.prompt, p.answers, p.before) for p in probes] == [
        ("two_hop", "The capital is", ("Santiago", "SCL"), None),
        ("alias", "Lugdunum's land is", ("Chile",), "France"),
        ("inverse", "Chile has", ("Lyon",), None),
        ("subject", "The river is", ("Rhone",), None),
    ]


def test_a_record_of_knowedit_may_have_one_part_only(tmp_path):
    records = [knowedit(), knowedit(locality=None), {"subject": "a", "target_new": "b"}]
    assert len(read_knowedit(dump(tmp_path / "k.json", records))) == 4 + 3


def test_own_probes_are_read_as_they_are(tmp_path):
    path = tmp_path / "own.jsonl"
    negation = own(kind="negation", prompt="Lyon is not in", forbidden=["Chile"])
    del negation["answers"]
    lines = [own(before="Paris"), negation]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert read_own(path) == [
        FileProbe((PORT,), "two_hop", "The capital is", ("Santiago",), before="Paris"),
        FileProbe((PORT,), "negation", "Lyon is not in", (), ("Chile",)),
    ]


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "good", "bad", "said"),
    [
        ("mquake", mquake(), mquake(requested_rewrite=[]), "'requested_rewrite': empty"),
        ("mquake", mquake(), mquake(requested_rewrite=[7]), r"'requested_rewrite\[0\]': .* got 7"),
        ("mquake", mquake(), mquake(questions=["Who?", 8]), r"'questions\[1\]': .* got 8"),
        ("mquake", mquake(), mquake(new_answer=3), "'new_answer': expected text, got 3"),
        ("mquake", mquake(), mquake(new_answer_alias=[3]), "'new_answer_alias': .* got 3"),
        ("ripple_edits", ripple(), ripple(edit={}), "'edit.prompt': missing"),
        (
            "ripple_edits",
            ripple(),
            ripple(Forgetfulness=[{"test_queries": [query("A", "b"), {"prompt": "C"}]}]),
            r"'Forgetfulness\[0\].test_queries\[1\].answers': missing",
        ),
        (
            "ripple_edits",
            ripple(),
            ripple(Forgetfulness=[{"test_queries": [{"prompt": "C", "answers": ["d"]}]}]),
            r"'Forgetfulness\[0\].test_queries\[0\].answers\[0\]': expected an object, got 'd'",
        ),
        ("knowedit", knowedit(), knowedit(target_new=None), "'target_new': expected text"),
        (
            "knowedit",
            knowedit(),
            knowedit(locality={"Distraction": []}),
            "'locality.Distraction': not known here; known are Reasoning",
        ),
        (
            "knowedit",
            knowedit(),
            knowedit(portability={"Reasoning": [{"prompt": "A"}]}),
            r"'portability.Reasoning\[0\].ground_truth': missing",
        ),
        ("own", own(), own(kind="hop"), "'kind': 'hop' is none of"),
        ("own", own(), own(id=3), "unknown field 'id'; known: subject, target_new"),
        ("own", own(), own(subject=""), "'subject': expected non-empty text, got ''"),
    ],
)
def test_a_bad_record_is_named_with_file_number_field_and_value(tmp_path, format, good, bad, said):
    path = dump(tmp_path / "probes.json", [good, bad])
    with pytest.raises(RequestError, match=said) as error:
        FORMATS[format](path)
    assert str(error.value).startswith(f"{path}, record 2: ")


def test_all_bad_records_are_named_at_once(tmp_path):
    records = [own(kind=f"kind{i}") if i % 2 else own() for i in range(24)]
    path = dump(tmp_path / "probes.json", records)
    with pytest.raises(RequestError) as error:
        read_own(path)
    head, *said = str(error.value).splitlines()
    assert head == f"{path}: 12 of 24 records cannot be used:"
    assert [line.split(":")[0].strip() for line in said] == [
        *(f"record {i + 1}" for i in range(1, 20, 2)),
        "and 2 more",
    ]


def test_a_file_of_another_format_is_refused(tmp_path):
    path = dump(tmp_path / "probes.json", [knowedit(), knowedit()])
    with pytest.raises(RequestError, match="2 of 2 records .*\n.*'requested_rewrite': missing"):
        read_mquake(path)


def test_a_file_without_any_probe_is_refused(tmp_path):
    path = dump(tmp_path / "k.json", [{"subject": "a", "target_new": "b"}])
    with pytest.raises(RequestError, match="no probe in its 1 records"):
        read_knowedit(path)


# --- probes and requests -----------------------------------------------------------------------


def probe(*edits, prompt="The capital is"):
    return FileProbe(edits, "two_hop", prompt, ("Santiago",))


def test_probes_go_to_the_request_of_the_same_texts():
    statement = Statement("The city of Osaka lies in Peru")
    given = [
        probe(statement, prompt="Its river is"),
        probe(PORT),
        probe(Edit("lyon", "Chile")),
        probe(Edit("Lyon", "Chile ")),
    ]
    attached = attach("p.json", given, [LYON, OSAKA])
    assert attached.probes == [
        Probe(3, "two_hop", "The capital is", ("Santiago",)),
        Probe(4, "two_hop", "Its river is", ("Santiago",)),
    ]
    assert (attached.requests, attached.unmatched, attached.ambiguous) == (2, 2, 0)
    assert attached.line().startswith("2 probes of 2 requests; of the file's, 2 are about other")


def test_a_probe_of_several_edits_needs_all_of_them():
    both = probe(PORT, Edit("Osaka", "Peru"))
    assert attach("p.json", [both], [OSAKA, LYON]).probes[0].request == LYON.id
    attached = attach("p.json", [both, probe(PORT)], [LYON])
    assert (len(attached.probes), attached.unmatched) == (1, 1)


def test_the_same_probe_is_given_once():
    assert len(attach("p.json", [probe(PORT), probe(PORT)], [LYON]).probes) == 1


def test_an_edit_that_several_requests_share_takes_no_probe():
    twin = Request(5, "Lyon", "The ruler of {} comes from", "Chile", "France")
    attached = attach("p.json", [probe(PORT), probe(Edit("Osaka", "Peru"))], [LYON, twin, OSAKA])
    assert [p.request for p in attached.probes] == [4]
    assert attached.ambiguous == 1


def test_a_file_about_none_of_the_requests_is_refused_with_the_way_out():
    with pytest.raises(RequestError) as error:
        attach("mine/p.json", [probe(Edit("Rome", "Peru"))], [LYON])
    assert str(error.value).startswith("mine/p.json: none of its 1 probes is about one edit of")
    assert "as 'Lyon' and 'Chile'" in str(error.value)
    assert "set the probes' path to null" in str(error.value)
