"""Probes: what they may be, and their file."""

import json

import pytest

from modeledit.data import probes as module
from modeledit.data.probes import KINDS, Probe, read_probes, write_probes
from modeledit.data.records import RequestError
from modeledit.io.files import FileError

CAPITAL = Probe(7, "two_hop", "The capital of Köln's country is", ("Rome", "Roma"), (), "Berlin")
NEGATED = Probe(7, "negation", "Köln is not in", (), ("Italy",))


def record(**changes):
    return {
        "request": 7,
        "kind": "alias",
        "prompt": "Cologne is in",
        "answers": ["Italy"],
        "forbidden": [],
        "before": None,
    } | changes


def lines(path, *records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


def test_what_is_written_is_read(tmp_path):
    write_probes(tmp_path / "probes.jsonl", [CAPITAL, NEGATED])
    assert read_probes(tmp_path / "probes.jsonl") == [CAPITAL, NEGATED]
    assert "Köln" in (tmp_path / "probes.jsonl").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["probes.jsonl"]


def test_every_kind_can_be_read(tmp_path):
    records = [record(kind=kind) for kind in KINDS if kind != "negation"]
    path = lines(tmp_path / "p.jsonl", *records)
    assert [probe.kind for probe in read_probes(path)] == [k for k in KINDS if k != "negation"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"request": -1}, "field 'request': expected a whole number from 0 to .*, got -1"),
        ({"request": True}, "field 'request': expected a whole number, got True"),
        ({"kind": "ripple"}, "field 'kind': 'ripple' is none of two_hop, inverse, alias"),
        ({"prompt": " "}, "field 'prompt': expected non-empty text, got ' '"),
        ({"prompt": "Cologne is in "}, "field 'prompt': blanks at the end of 'Cologne is in '"),
        ({"answers": []}, "field 'answers': empty, but a probe of kind 'alias' needs"),
        ({"answers": ["Italy", 3]}, r"field 'answers\[1\]': expected non-empty text, got 3"),
        ({"answers": [" Italy"]}, r"field 'answers\[0\]': blanks at the edges of ' Italy'"),
        ({"forbidden": ["Italy"]}, "field 'forbidden': 'Italy' is also one of the answers"),
        ({"before": "Italy"}, "field 'before': 'Italy' is also one of the answers"),
        ({"before": 5}, "field 'before': expected non-empty text, got 5"),
        ({"kind": "negation"}, "field 'forbidden': a negation says in `forbidden`"),
        ({"kind": "negation", "forbidden": ["Peru"]}, r"has no `answers`; got .*'Italy'"),
        ({"note": 1}, "unknown field 'note'; known: request, kind, prompt"),
    ],
)
def test_a_bad_field_is_named_with_file_record_and_value(tmp_path, changes, said):
    path = lines(tmp_path / "p.jsonl", record(), record(**changes))
    with pytest.raises(RequestError, match=said) as error:
        read_probes(path)
    assert str(error.value).startswith(f"{path}, record 2: ")


@pytest.mark.parametrize("name", list(record()))
def test_a_missing_field_is_named(tmp_path, name):
    one = record()
    del one[name]
    with pytest.raises(RequestError, match=f"record 1: field '{name}': missing"):
        read_probes(lines(tmp_path / "p.jsonl", one))


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "p.jsonl"
    write_probes(path, [CAPITAL, NEGATED])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileError, match="cut off"):
        read_probes(path)


def test_more_probes_of_a_kind_than_scores_count_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_PROMPTS", 2)
    probes = [Probe(7, "alias", f"Town {i} is in", ("Italy",)) for i in range(3)]
    with pytest.raises(RequestError, match="request 7 has more than 2 probes of kind 'alias'"):
        write_probes(tmp_path / "p.jsonl", probes)
    assert not list(tmp_path.iterdir())
    write_probes(tmp_path / "p.jsonl", [*probes[:2], NEGATED])
    assert len(read_probes(tmp_path / "p.jsonl")) == 3
