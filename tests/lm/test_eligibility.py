"""Which neighbors survive, and which requests they make eligible (SPEC D.2)."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeledit.data.requests import Neighbor, Request
from modeledit.lm.eligibility import (
    Filter,
    compare_sets,
    find_eligible,
    judge_neighbors,
    select_eligible,
    yields,
)
from modeledit.lm.model import EditableModel
from tests.reference import models as tiny
from tests.reference import plain

MODELS = {"llama": tiny.tiny_llama, "gpt2": tiny.tiny_gpt2, "gptj": tiny.tiny_gptj}
TOKENIZERS = {"no BOS": tiny.tiny_tokenizer(), "BOS": tiny.tiny_tokenizer(bos=True)}
WORDS = ("France", "Italy", "Japan", "Peru", "capital", "city", "country", "people")  # one token
REQUESTS = tiny.tiny_requests()
# Some requests below list a neighbor more than once, for brevity.
FILTER = Filter("mask_aware", editing_neighbors=1, choice="first", copies="count", seed=0)


def talking(model, tokenizer):
    """The model with a head that prefers `WORDS`; which of them depends on the prompt."""
    bias = torch.zeros(len(tokenizer), dtype=torch.float64)
    for word in WORDS:
        (token,) = tokenizer(f" {word}", add_special_tokens=False)["input_ids"]
        bias[token] = 100.0
    plain.locate(model).head.bias = torch.nn.Parameter(bias)
    return model


def greedy(model, tokenizer, text, words):
    """The next `words` tokens by the model itself."""
    ids = tokenizer.encode(text)
    for _ in range(words):
        ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return tokenizer.decode(ids[-words:]).strip()


@pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
@pytest.mark.parametrize("family", MODELS)
def test_verdicts_equal_one_prompt_at_a_time(family, tokenizer):
    model = talking(MODELS[family](dtype=torch.float64), tokenizer)
    requests, seen = [], set()
    for request in REQUESTS:
        neighbors = []
        for neighbor in (*request.neighbors, *request.editing_neighbors):
            known = [greedy(model, tokenizer, neighbor.text, n) for n in (1, 3)]
            seen.add(known[0])
            first, second, third = known[1].split()
            half = f"{first} {next(w for w in WORDS if w != second)} {third}"
            objects = [*known, half, known[0].lower() + ",", neighbor.target]
            neighbors += [replace(neighbor, target=o) for o in objects]
        requests.append(replace(request, neighbors=tuple(neighbors)))
    assert len(seen) > 1, "the model must not give one answer to everything"

    verdicts = judge_neighbors(EditableModel(model), tokenizer, requests, token_budget=300)
    by_request = {r.id: r.neighbors for r in requests}
    assert list(zip(verdicts["request"], verdicts["index"], strict=True)) == [
        (r.id, j) for r in requests for j in range(len(r.neighbors))
    ]
    expected = [v for r in requests for v in plain.eligible(model, tokenizer, r, r.neighbors)]
    assert verdicts["survives"].tolist() == expected
    for verdict in verdicts.itertuples():
        neighbor = by_request[verdict.request][verdict.index]
        assert (verdict.prompt, verdict.object) == (neighbor.text, neighbor.target)
        assert verdict.survives == (verdict.predicted == neighbor.target)
        if verdict.Index % 5 < 2:
            assert verdict.survives, "what the model says of itself must survive"
        elif verdict.Index % 5 < 4:
            assert not verdict.survives


def request(id, *subjects):
    """A request with one neighbor for each subject; None is a neighbor without one."""
    return Request(
        id=id,
        subject="Lyon",
        prompt="{} is in",
        target_new="Peru",
        target_true="France",
        neighbors=tuple(
            Neighbor(f"Town {j} is in" if s is None else "{} is in", s, "France")
            for j, s in enumerate(subjects)
        ),
    )


def verdicts_of(requests, alive):
    """A verdict per neighbor; `alive[id]` lists the surviving indices."""
    rows = [
        {"request": r.id, "index": j, "survives": j in alive.get(r.id, ())}
        for r in requests
        for j in range(len(r.neighbors))
    ]
    return pd.DataFrame(rows).astype({"survives": bool})


def test_the_first_survivor_edits_and_the_rest_evaluate():
    r = request(7, *"ABCDE")
    (chosen,), summary = select_eligible([r], verdicts_of([r], {7: (1, 3, 4)}), FILTER)
    assert [n.subject for n in chosen.editing_neighbors] == ["B"]
    assert [n.subject for n in chosen.neighbors] == ["D", "E"]
    assert chosen == replace(
        r, neighbors=chosen.neighbors, editing_neighbors=chosen.editing_neighbors
    )
    assert summary.to_dict("records") == [
        {"request": 7, "survivors": 3, "eligible": True, "reason": ""}
    ]


def test_fewer_than_two_survivors_drop_a_request_with_its_reason():
    requests = [request(4, *"AB"), request(2, *"ABC"), request(9, *"ABC")]
    verdicts = verdicts_of(requests, {4: (0, 1), 2: (2,)})
    eligible, summary = select_eligible(requests, verdicts, FILTER)
    assert [r.id for r in eligible] == [4]
    assert summary["request"].tolist() == [4, 2, 9]
    assert summary["survivors"].tolist() == [2, 1, 0]
    assert summary["eligible"].tolist() == [True, False, False]
    assert summary["reason"].tolist() == [
        "",
        "1 of 3 neighbors survive",
        "0 of 3 neighbors survive",
    ]


def test_a_survivor_without_subject_is_only_evaluated_on():
    requests = [request(0, None, "A", None, "B"), request(1, None, None)]
    verdicts = verdicts_of(requests, {0: (0, 1, 2, 3), 1: (0, 1)})
    eligible, summary = select_eligible(requests, verdicts, FILTER)
    assert [r.id for r in eligible] == [0]
    assert [n.subject for n in eligible[0].editing_neighbors] == ["A"]
    assert [n.subject for n in eligible[0].neighbors] == [None, None, "B"]
    assert summary["eligible"].tolist() == [True, False]


def test_two_editing_neighbors_need_a_third_survivor():
    requests = [request(0, *"ABCD"), request(1, *"ABCD")]
    verdicts = verdicts_of(requests, {0: (0, 2, 3), 1: (1, 2)})
    (chosen,), summary = select_eligible(requests, verdicts, replace(FILTER, editing_neighbors=2))
    assert [n.subject for n in chosen.editing_neighbors] == ["A", "C"]
    assert [n.subject for n in chosen.neighbors] == ["D"]
    assert summary["eligible"].tolist() == [True, False]


def test_requests_without_any_neighbor_are_dropped():
    model = EditableModel(tiny.tiny_llama())
    requests = [request(0), request(1)]
    verdicts = judge_neighbors(model, TOKENIZERS["BOS"], requests)
    eligible, summary = select_eligible(requests, verdicts, FILTER)
    assert eligible == []
    assert summary["reason"].tolist() == ["0 of 0 neighbors survive"] * 2


@given(
    st.dictionaries(
        st.integers(0, 50),
        st.lists(st.tuples(st.sampled_from(["A", "B", None]), st.booleans()), min_size=1),
        min_size=1,
    ),
    st.integers(1, 3),
)
def test_survivors_are_split_in_their_order(drawn, n_editing):
    requests = [request(id, *(s for s, _ in pairs)) for id, pairs in drawn.items()]
    alive = {id: [j for j, (_, lives) in enumerate(pairs) if lives] for id, pairs in drawn.items()}
    how = replace(FILTER, editing_neighbors=n_editing)
    eligible, summary = select_eligible(requests, verdicts_of(requests, alive), how)
    assert [r.id for r in eligible] == summary.loc[summary["eligible"], "request"].tolist()
    assert summary["survivors"].tolist() == [len(alive[r.id]) for r in requests]
    assert [bool(text) for text in summary["reason"]] == [not e for e in summary["eligible"]]
    by_id = {r.id: r for r in requests}
    for chosen in eligible:
        survivors = [by_id[chosen.id].neighbors[j] for j in alive[chosen.id]]
        named = [n for n in survivors if n.subject is not None]
        assert list(chosen.editing_neighbors) == named[:n_editing]
        assert len(chosen.neighbors) == len(survivors) - n_editing > 0
        places = [next(i for i, s in enumerate(survivors) if s is n) for n in chosen.neighbors]
        assert places == sorted(places)
    for r in requests:
        named = [j for j in alive[r.id] if r.neighbors[j].subject is not None]
        enough = len(named) >= n_editing and len(alive[r.id]) > n_editing
        assert enough == (r.id in {c.id for c in eligible})


def judged(survivors):
    """Verdicts in which the listed neighbors of each request survive."""
    rows = [
        {"request": r.id, "index": j, "survives": j in survivors.get(r.id, ())}
        for r in REQUESTS
        for j in range(len(r.neighbors))
    ]
    return pd.DataFrame(rows)


def test_a_random_choice_is_seeded_and_keeps_the_rest_for_evaluation():
    wide = replace(
        REQUESTS[0],
        neighbors=tuple(Neighbor("{} is in", f"City {j}", "France") for j in range(9)),
    )
    verdicts = pd.DataFrame([{"request": 0, "index": j, "survives": True} for j in range(9)])
    chosen = set()
    for seed in range(8):
        how = replace(FILTER, editing_neighbors=2, choice="random", seed=seed)
        (request,), _ = select_eligible([wide], verdicts, how)
        (again,), _ = select_eligible([wide], verdicts, how)
        assert request == again
        assert len(request.editing_neighbors) == 2 and len(request.neighbors) == 7
        assert set(request.editing_neighbors).isdisjoint(request.neighbors)
        chosen.add(request.editing_neighbors)
    assert len(chosen) > 3
    (first,), _ = select_eligible([wide], verdicts, replace(FILTER, editing_neighbors=2))
    assert first.editing_neighbors == wide.neighbors[:2]


@pytest.mark.parametrize(("copies", "eligible"), [("drop", False), ("count", True)])
def test_a_neighbor_that_is_listed_twice_is_one(copies, eligible):
    paris = Neighbor("{} is in", "Paris", "France")
    same = Neighbor("Paris is in", None, "France")  # as text, its subject unknown
    twice = replace(REQUESTS[0], neighbors=(paris, same))
    how = replace(FILTER, copies=copies)
    found, summary = select_eligible([twice], judged({0: (0, 1)}), how)
    assert bool(found) == eligible
    assert summary["reason"].tolist() == ["" if eligible else "1 of 2 neighbors survive"]
    three = replace(REQUESTS[0], neighbors=(paris, same, Neighbor("{} is in", "Nice", "France")))
    all_of_them = pd.DataFrame([{"request": 0, "index": j, "survives": True} for j in range(3)])
    (chosen,), _ = select_eligible([three], all_of_them, replace(FILTER, copies="drop"))
    assert chosen.editing_neighbors == (paris,)
    assert [n.text for n in chosen.neighbors] == ["Nice is in"]


def test_yields_say_how_many_and_why_the_others_fell():
    some = judged({0: (0, 1), 1: (0,), 4: ()})
    more = judged({0: (0, 1), 1: (0, 2)})
    counts = yields(REQUESTS, {"hf_default": some, "mask_aware": more}, FILTER)
    assert counts["hf_default"]["eligible_requests"] == 1
    assert counts["mask_aware"]["eligible_requests"] == 2
    assert counts["hf_default"]["surviving_neighbors"] == 3
    assert counts["hf_default"]["fallen"]["1 of 3 neighbors survive"] == 1
    assert sum(counts["hf_default"]["fallen"].values()) == len(REQUESTS) - 1


def test_sets_are_compared_by_what_they_edit():
    other = replace(REQUESTS[1], id=99, target_new="Peru")
    found = compare_sets([REQUESTS[0], REQUESTS[1]], [replace(REQUESTS[0], id=5), other])
    assert found["both"] == [f"{REQUESTS[0].text} -> Japan (was France)"]
    assert len(found["only_ours"]) == len(found["only_theirs"]) == 1
    assert "-> Peru" in found["only_theirs"][0]


def test_left_padding_changes_the_verdicts_of_absolute_positions_only():
    tokenizer = TOKENIZERS["no BOS"]
    for family, changes in (("gpt2", True), ("gptj", False)):
        model = EditableModel(talking(MODELS[family](dtype=torch.float64), tokenizer))
        clean, padded = (
            judge_neighbors(model, tokenizer, REQUESTS, 300, positions)["predicted"].tolist()
            for positions in ("mask_aware", "hf_default")
        )
        assert (clean != padded) == changes, family


@pytest.mark.parametrize(
    ("family", "readings"), [("gpt2", ["hf_default", "mask_aware"]), ("llama", ["mask_aware"])]
)
def test_a_trial_is_filtered_and_where_padding_counts_by_both_readings(family, readings):
    tokenizer = TOKENIZERS["no BOS"]
    model = EditableModel(talking(MODELS[family](dtype=torch.float64), tokenizer))
    said = judge_neighbors(model, tokenizer, REQUESTS, 300)
    known = {(v.request, v.index): v.predicted for v in said.itertuples()}
    requests = [  # of the first request all neighbors are known, of the others none
        replace(
            r,
            neighbors=tuple(
                replace(n, target=known[r.id, j] if i == 0 else "nobody")
                for j, n in enumerate(r.neighbors)
            ),
        )
        for i, r in enumerate(REQUESTS)
    ]
    how = FILTER
    found = find_eligible(model, tokenizer, requests, how, token_budget=300)
    assert [r.id for r in found.requests] == [requests[0].id]
    assert found.requests[0].editing_neighbors == requests[0].neighbors[:1]
    assert found.summary["eligible"].tolist() == [True] + [False] * (len(requests) - 1)
    assert found.verdicts["survives"].sum() == len(requests[0].neighbors)
    assert sorted(found.yields) == readings
    assert found.yields["mask_aware"]["eligible_requests"] == 1


def test_requests_with_too_few_survivors_may_be_kept_with_those_they_have():
    requests = [request(4, *"AB"), request(2, *"ABC"), request(9, *"ABC")]
    verdicts = verdicts_of(requests, {4: (0, 1), 2: (2,)})
    how = replace(FILTER, editing_neighbors=0, others="keep")
    kept, summary = select_eligible(requests, verdicts, how)
    assert [r.id for r in kept] == [4, 2, 9]
    assert [[n.subject for n in r.neighbors] for r in kept] == [["A", "B"], ["C"], []]
    assert all(r.editing_neighbors == () for r in kept)
    assert summary["eligible"].tolist() == [True, True, False]
