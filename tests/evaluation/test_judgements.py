"""Questions to a judge, verdicts that are read, and the share of prompts that are judged true."""

import json
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest

from modeledit.evaluation.judgements import (
    Judgement,
    judged,
    question,
    questions,
    read_questions,
    read_verdicts,
    write_judgements,
    write_questions,
)
from modeledit.io.files import FileError

OBJECTS = {1: "Rome", 2: "Lima"}


def said(*rows) -> pd.DataFrame:
    """Rows of generations.parquet: request, kind, prompt, text."""
    return pd.DataFrame(rows, columns=["request", "kind", "prompt", "text"])


BEFORE = said(
    (1, "edit", "The tower is in", " Paris"),
    (1, "paraphrase", "Go to the tower, in", " Paris"),
    (2, "edit", "The river is in", " Peru"),
    (1, "neighbor", "The bridge is in", " Rome"),
)
AFTER = said(
    (1, "edit", "The tower is in", " Rome"),
    (1, "paraphrase", "Go to the tower, in", " Paris"),
    (1, "paraphrase", "See the tower, in", " the capital of Italy"),
    (2, "edit", "The river is in", " Lima"),
)


def test_a_question_quotes_what_was_said_and_is_known_by_its_text():
    one = question('He said {x} "hm', " Rome\nno", "Lima")
    assert one.id == sha256(one.text.encode()).hexdigest()
    for quoted in (r'"He said {x} \"hm"', r'" Rome\nno"', '"Lima"'):
        assert quoted in one.text
    assert question("a", "b", "c") == question("a", "b", "c") != question("a", "b", "d")


def test_each_distinct_question_is_there_once_and_no_other_kind():
    found = questions([BEFORE, AFTER], OBJECTS, ("edit", "paraphrase"))
    assert len(found) == 6  # of 7 rows one is the same in both states, the neighbor is left out
    assert found[0] == question("The tower is in", " Paris", "Rome")
    assert len(questions([BEFORE, AFTER], OBJECTS, ("edit",))) == 4


def test_questions_are_read_as_they_were_written(tmp_path):
    path, found = tmp_path / "q.jsonl", questions([AFTER], OBJECTS, ("edit",))
    write_questions(path, found)
    assert read_questions(path) == found
    path.write_text(path.read_text().replace("Lima", "Cusco"))
    with pytest.raises(FileError, match="q.jsonl, line 2: id and question do not belong together"):
        read_questions(path)


def test_shares_by_hand():
    answers = {
        ("The tower is in", " Paris", "Rome"): False,
        ("The tower is in", " Rome", "Rome"): True,
        ("Go to the tower, in", " Paris", "Rome"): False,
        ("See the tower, in", " the capital of Italy", "Rome"): True,
        ("The river is in", " Lima", "Lima"): None,
    }
    verdicts = {question(*asked).id: verdict for asked, verdict in answers.items()}
    found = judged({"unedited": BEFORE, "stop": AFTER}, OBJECTS, verdicts, ("edit", "paraphrase"))
    by_place = found.set_index(["state", "request", "kind"])["value"].to_dict()
    expected = {
        ("unedited", 1, "edit"): 0.0,
        ("unedited", 1, "paraphrase"): 0.0,
        ("unedited", 2, "edit"): np.nan,  # nobody judged it
        ("stop", 1, "edit"): 1.0,
        ("stop", 1, "paraphrase"): 0.5,
        ("stop", 2, "edit"): np.nan,  # null
    }
    assert by_place.keys() == expected.keys()
    for place, value in expected.items():
        assert by_place[place] == pytest.approx(value, nan_ok=True), place


def test_one_null_among_a_requests_prompts_leaves_its_share_unknown():
    verdicts = {question("Go to the tower, in", " Paris", "Rome").id: True}
    found = judged({"stop": AFTER}, OBJECTS, verdicts, ("paraphrase",))
    assert found["value"].isna().tolist() == [True]
    assert judged({"stop": AFTER[:0]}, OBJECTS, verdicts, ("edit",)).empty


def test_judgements_can_be_read_as_verdicts(tmp_path):
    path = tmp_path / "judgements.jsonl"
    write_judgements(path, [Judgement("a", True, "me"), Judgement("b", None, None)])
    assert read_verdicts(path) == {"a": True, "b": None}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"id": "b"}, "field 'verdict': missing"),
        ({"verdict": True}, "field 'id': missing"),
        ({"id": 7, "verdict": True}, "field 'id': expected a question's id, got 7"),
        ({"id": "b", "verdict": "yes"}, "field 'verdict': expected true, false or null, got \"yes"),
        ({"id": "b", "verdict": 1}, "field 'verdict': expected true, false or null, got 1"),
        ({"id": "a", "verdict": False}, "field 'id': 'a' was judged true before"),
        (["b", True], 'expected an object with id and verdict, got ["b", true]'),
    ],
)
def test_a_bad_verdict_is_refused_by_file_line_and_value(tmp_path, line, reason):
    path = tmp_path / "verdicts.jsonl"
    path.write_text(f"{json.dumps({'id': 'a', 'verdict': True})}\n{json.dumps(line)}\n")
    with pytest.raises(FileError) as error:
        read_verdicts(path)
    assert str(error.value).startswith(f"{path}, line 2: {reason}")
    assert str(error.value).endswith("; correct the line or drop it")
