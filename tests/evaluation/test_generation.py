"""What a continuation says: whole words, whatever the case, and what teacher forcing adds."""

import pandas as pd
import pytest

from modeledit.evaluation.generation import Objects, Prompt, begins, contains, request_says
from tests.made_up_behavior import forced, said


@pytest.mark.parametrize(
    ("text", "names", "first", "anywhere"),
    [
        (" Rome, of course", ("Rome",), True, True),
        ("the city of Rome", ("Rome",), False, True),
        (" Romeo", ("Rome",), False, False),
        ("Rome2", ("Rome",), False, False),
        ("pre-Rome", ("Rome",), False, True),
        ("ROME", ("rome",), True, True),
        ("New  York", ("new york",), True, True),
        ("New Yorkshire", ("New York",), False, False),
        ("Romeo left Rome", ("Rome",), False, True),
        ("the USA", ("United States", "USA"), False, True),
        ("Co\u0302te d'Ivoire", ("C\u00f4te d'Ivoire",), True, True),  # composed otherwise
        ("Cote\u0301", ("Cote",), False, False),  # a mark that joins on
        ("हिन्दी", ("हिन्द",), False, False),  # a vowel sign that joins on
        ("東京です", ("東京",), True, True),
        ("St. John's", ("St.",), True, True),
        ("", ("Rome",), False, False),
        ("Rome", (), False, False),
        ("Rome", (" ",), False, False),
    ],
)
def test_an_object_is_said_as_whole_words(text, names, first, anywhere):
    assert begins(text, names) is first
    assert contains(text, names) is anywhere


EDIT, PARAPHRASES = "Lyon lies in", ("Lyon is a town of", "Lyon belongs to")
NEIGHBORS = ("Nice lies in", "Lille lies in")
BOTH = Objects(("Japan", "Nippon"), ("France",))
OBJECTS = {
    Prompt(4, "edit", EDIT): BOTH,
    **{Prompt(4, "paraphrase", text): BOTH for text in PARAPHRASES},
    **{Prompt(4, "neighbor", text): BOTH for text in NEIGHBORS},
}
SAID = [
    (4, "edit", 0, EDIT, " Nippon, they say"),
    (4, "paraphrase", 0, PARAPHRASES[0], " Japan"),
    (4, "paraphrase", 1, PARAPHRASES[1], " France, not Japan"),
    (4, "neighbor", 0, NEIGHBORS[0], " France"),
    (4, "neighbor", 1, NEIGHBORS[1], " Japan"),
]
FORCED = {(4, "edit", 0): True, (4, "paraphrase", 0): True, (4, "paraphrase", 1): True}


def by_metric(values: pd.DataFrame) -> dict:
    assert values["request"].tolist() == [4] * len(values)
    return dict(zip(values["metric"], values["value"], strict=True))


def test_a_request_is_the_mean_over_its_prompts():
    found = by_metric(request_says(said(SAID), OBJECTS, forced(FORCED)))
    assert found == {
        "said_new_edit": 1.0,  # by its alias
        "mentioned_new_edit": 1.0,
        "said_old_edit": 0.0,
        "said_new_paraphrase": 0.5,  # (1 + 0) / 2
        "mentioned_new_paraphrase": 1.0,
        "said_old_paraphrase": 0.5,
        "kept_neighbor": 0.5,
        "mentioned_neighbor": 0.5,
        "leaked_neighbor": 0.5,
        "forced_edit": 1.0,
        "forced_paraphrase": 1.0,
        "gap_edit": 1.0,  # 1 - 0: teacher forcing is about "Japan", which it does not begin with
        "gap_paraphrase": 0.5,  # ((1 - 1) + (1 - 0)) / 2
    }


def test_what_was_not_scored_or_has_no_old_object_is_left_out():
    asked = {prompt: Objects(("Japan",)) for prompt in OBJECTS}
    found = by_metric(request_says(said(SAID), asked))
    assert set(found) == {
        "said_new_edit", "mentioned_new_edit", "said_new_paraphrase", "mentioned_new_paraphrase",
        "leaked_neighbor",
    }  # fmt: skip
    assert found["said_new_edit"] == 0.0  # "Nippon" is no name of it here


def test_an_object_without_tokens_is_not_found_by_teacher_forcing():
    scores = forced(FORCED)
    scores["token_ids"] = scores["argmax"] = [[], [], []]
    assert by_metric(request_says(said(SAID), OBJECTS, scores))["forced_edit"] == 0.0


def test_pieces_of_a_neighbors_answer_are_left_out():
    more = [*SAID, (4, "neighbor", 2, f"{NEIGHBORS[0]} Fr", "ance")]
    found = by_metric(request_says(said(more), OBJECTS))
    assert found["kept_neighbor"] == 0.5


def test_prompts_that_nobody_asked_and_scores_that_are_missing_are_named():
    other = [(4, "edit", 0, "Nantes lies in", " Japan")]
    with pytest.raises(ValueError, match="request 4 has no edit prompt 'Nantes lies in'"):
        request_says(said(other), OBJECTS)
    with pytest.raises(ValueError, match=r"\(4, 'paraphrase', 1\).*score them again"):
        request_says(said(SAID), OBJECTS, forced(dict(list(FORCED.items())[:2])))


def test_nothing_said_has_no_values():
    assert request_says(said([]), OBJECTS).empty
