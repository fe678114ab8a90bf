"""The page of one's own facts: what is counted, what is said, and nothing that breaks out of it."""

import json
import math
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest

from modeledit.data.requests import NO_TRUE_OBJECT, Neighbor, Request, write_requests
from modeledit.evaluation.schemas import PANEL
from modeledit.io.state import State, write_state
from modeledit.presentation.own_facts import Sources, read_outcome
from modeledit.presentation.own_facts_page import percent, render_page, render_text, to_frame
from modeledit.study.own_facts import Study
from tests.made_up import HOSTILE, scores

STUDY = Study("Tiny <1M>", "MEMIT", 1.0, small=True)
PROMPT = "{} lies in"
# Of request 0 one neighbor is lost, of request 1 none; request 2 is not learnt in two iterations.
SUBJECTS = ("Lyon", HOSTILE, "Ulm")


def request(number: int) -> Request:
    neighbors = tuple(Neighbor(PROMPT, f"Place {number}.{j}", "France") for j in range(2))
    return Request(number, SUBJECTS[number], PROMPT, "Japan", "France", ("A road",), neighbors)


def fact(one: Request, **more) -> dict:
    """The record of the user's file behind a request."""
    return {
        "prompt": one.text,
        "subject": one.subject,
        "new_object": one.target_new,
        "old_object": one.target_true,
        "paraphrases": list(one.paraphrases),
        "neighbors": [neighbor.text for neighbor in one.neighbors],
    } | more


def state(k: int, **more) -> State:
    values = {"k": k, "held_by": min(k, 2), "passed_on": k > 2, "stopped": k >= 2}
    values |= {"collapsed": None, "p_bar": 1.0, "p_hat": 1.5, "dp": 0.5, "precision": "float32"}
    return State(**values | {"differences": [9.0, 0.5][:k]} | more)


@pytest.fixture
def write(tmp_path):
    """Writes what a run of requests left; says where it is."""

    def written(requests, facts=None, offered=None, verdicts=(), states=None) -> Sources:
        at = {name: tmp_path / name for name in Sources.__dataclass_fields__}
        facts = facts or [fact(one) for one in requests]
        at["facts"] = tmp_path / "facts.jsonl"
        at["facts"].write_text("".join(f"{json.dumps(f)}\n" for f in facts))
        write_requests(at["requests"], requests)
        write_requests(at["trial"], offered or requests)
        columns = ["request", "index", "prompt", "object", "predicted", "survives"]
        pd.DataFrame(verdicts, columns=columns).to_csv(at["verdicts"], index=False)
        for k in range(3):
            scores(requests, k).to_parquet(tmp_path / f"scores{k}")
        states = states or [state(k) for k in (1, 2, 3)]
        for one in states:
            write_state(tmp_path / f"state{one.k}", one)
        known = [("A is in", "A", "B", "B", 0.5), ("C is in", "C", "D", "D", 0.4)]
        known += [("Lyon is big in", "Lyon", "E", "E", 0.3), (requests[0].text, "Lyon", *"FF", 0.2)]
        before = pd.DataFrame(known, columns=list(PANEL.names))
        PANEL.write(at["panel"], before)
        after = before.assign(said=["B", HOSTILE, "G", "H"], probability=[0.5, 0.1, 0.2, 0.1])
        PANEL.write(at["panel_after"], after)
        return Sources(
            **at
            | {
                "unedited": tmp_path / "scores0",
                "scores": [tmp_path / f"scores{k}" for k in (1, 2)],
                "states": [tmp_path / f"state{one.k}" for one in states],
            }
        )

    return written


def test_prompts_are_counted_iteration_by_iteration(write):
    outcome = read_outcome(write([request(i) for i in range(3)]), STUDY)
    assert outcome.totals == {"edit": 3, "paraphrase": 3, "neighbor": 6}
    assert [one.k for one in outcome.iterations] == [0, 1, 2]
    assert [one.dp for one in outcome.iterations] == [None, 9.0, 0.5]
    assert [one.good["edit"] for one in outcome.iterations] == [0, 1, 2]
    assert [one.good["neighbor"] for one in outcome.iterations] == [6, 5, 5]
    assert "iteration 2: |Δp| = 0.5 is at most ε = 1" in outcome.stop
    first = outcome.facts[0].asked[0]
    assert first.said(first.before) == ("France", pytest.approx(0.7))
    assert first.said(first.after) == ("Japan", pytest.approx(0.9))
    assert first.after.old == pytest.approx(0.05)


def test_one_fact_is_one_fact(write):
    outcome = read_outcome(write([request(0)]), STUDY)
    assert render_text(outcome).startswith("1 edited fact, MEMIT on Tiny <1M>")
    assert "<h1>1 edited fact</h1>" in render_page(outcome)


def test_what_moved_is_not_what_was_edited(write):
    outcome = read_outcome(write([request(0)]), STUDY)
    assert outcome.panel == 3  # the edited prompt itself is none of them
    assert [(m.prompt, m.said, m.own) for m in outcome.moved] == [
        ("Lyon is big in", "G", True),
        ("C is in", HOSTILE, False),
    ]


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (state(2, differences=[9.0, 3.0]), "The budget of 2 iterations ended with |Δp| = 3"),
        (state(2, held_by=1, collapsed="targets of request 0"), "wrote nothing"),
    ],
)
def test_why_it_ended_is_said(write, last, words):
    outcome = read_outcome(write([request(0)], states=[state(1), last]), STUDY)
    assert words in outcome.stop and outcome.iterations[-1].k == last.held_by
    assert words.replace("Δ", "Δ") in render_text(outcome)


def test_a_fact_with_nothing_but_what_is_needed(write):
    bare = replace(request(0), target_true=NO_TRUE_OBJECT, paraphrases=(), neighbors=())
    needed = ("prompt", "subject", "new_object")
    given = {name: value for name, value in fact(bare).items() if name in needed}
    outcome = read_outcome(write([bare], [given]), STUDY)
    (shown,) = outcome.facts
    (asked,) = shown.asked
    assert asked.old is None and asked.before.old is None
    notes = " ".join(shown.notes)
    for words in ("No old object was given", "“France” (70%)", "No paraphrases", "No neighbors"):
        assert words in notes
    assert "no built-in fact has a prompt of this form" in notes
    for text in (render_text(outcome), render_page(outcome)):
        assert NO_TRUE_OBJECT not in text and "endoftext" not in text
        assert "none asked" in text and "not given" in text


def test_where_neighbors_are_from_is_said(write):
    own = request(0)
    alone = replace(own, neighbors=())
    verdicts = [(0, j, n.text, n.target, "Peru", j == 0) for j, n in enumerate(own.neighbors)]
    # Given, and one of them unknown.
    kept = replace(own, neighbors=own.neighbors[:1])
    (shown,) = read_outcome(write([kept], [fact(own)], [own], verdicts), STUDY).facts
    (note,) = shown.notes
    assert "“Place 0.1 lies in” with “France” (token by token it says “Peru”)" in note
    # Not given, and found.
    (shown,) = read_outcome(write([kept], [fact(alone)], [own], verdicts), STUDY).facts
    assert "of 2 built-in facts of the same form the model knows 1" in shown.notes[0]
    # Found, and none known.
    unknown = [(*v[:-1], False) for v in verdicts]
    (shown,) = read_outcome(write([alone], [fact(alone)], [own], unknown), STUDY).facts
    assert "the model knows none of 2 built-in facts" in shown.notes[0]
    # In the loss.
    edited = replace(kept, editing_neighbors=own.neighbors[1:])
    (shown,) = read_outcome(write([edited], [fact(own)], [own], []), STUDY).facts
    assert "“Place 0.1 lies in” (“France”) in the loss" in shown.notes[0]


class Page(HTMLParser):
    """Elements and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.addresses, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.addresses += [v for k, v in attrs if k in ("href", "src")]

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_texts_stay_texts(write):
    outcome = read_outcome(write([request(i) for i in range(3)]), STUDY)
    page = Page(render_page(outcome))
    assert "script" not in page.elements and page.addresses == ["data:,"]
    assert page.elements.count("article") == 3 and page.elements.count("h1") == 1
    assert HOSTILE in page.text and "Tiny <1M>" in page.text
    assert "2 of 3" in page.text and "not comparable with the paper" in page.text


def test_numbers_are_the_models_own(write):
    numbers = to_frame(read_outcome(write([request(0)]), STUDY))
    assert len(numbers) == 4 * 3
    row = numbers[(numbers["kind"] == "edit") & (numbers["k"] == 2)].iloc[0]
    assert row["p_new"] == pytest.approx(0.9) and row["mark"] == "changed"
    assert math.isclose(row["p_old"], 0.05, rel_tol=1e-6)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.734, "73%"), (0.0996, "10%"), (0.042, "4.2%"), (0.0009, "<0.1%"), (1, "100%"), (None, "")],
)
def test_a_probability_is_short(value, shown):
    assert percent(value) == shown


def test_a_table_for_the_terminal_has_a_shared_neighbor_once(write):
    same = request(0).neighbors
    requests = [request(0), replace(request(2), neighbors=same)]
    facts = [fact(one) for one in requests]
    for number, one in enumerate(requests):
        requests[number] = replace(one, id=number)
    text = render_text(read_outcome(write(requests, facts), STUDY))
    assert text.count("Place 0.0 lies in") == text.count("Place 0.1 lies in") == 1
    assert text.splitlines()[0] == "2 edited facts, MEMIT on Tiny <1M>"
