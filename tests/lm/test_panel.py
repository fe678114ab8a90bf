"""The panel is judged as neighbors are, and its probabilities are the model's."""

import pytest
import torch

from modeledit.data.requests import Neighbor, Request
from modeledit.evaluation.schemas import PANEL
from modeledit.lm.eligibility import judge_neighbors
from modeledit.lm.model import EditableModel
from modeledit.lm.panel import ask_panel
from tests.lm.test_eligibility import WORDS, greedy, talking
from tests.reference import models as tiny

FORM = "{} is a city in"


def test_it_says_what_the_filter_finds_and_how_likely_the_object_is():
    tokenizer = tiny.tiny_tokenizer()
    model = talking(tiny.tiny_gpt2(dtype=torch.float64), tokenizer)
    first, second, third = greedy(model, tokenizer, FORM.format("Lyon"), 3).split()
    other = next(word for word in WORDS if word != second)
    objects = (f"{first} {second}", f"{first} {other} {third}", f"{first} {second} {other}")
    facts = [Neighbor(FORM, "Lyon", target) for target in objects]
    said = ask_panel(EditableModel(model), tokenizer, facts, 300)
    assert list(said.columns) == list(PANEL.names)

    # Up to the first token that is another one.
    assert said["said"].tolist()[:2] == [f"{first} {second}"] * 2
    request = Request(0, "X", "{} is", "Japan", "Peru", neighbors=tuple(facts))
    verdicts = judge_neighbors(EditableModel(model), tokenizer, [request])
    right = [row["said"] == row["object"] for row in said.to_dict("records")]
    assert right == verdicts["survives"].tolist() and right[:2] == [True, False]

    for row, fact in zip(said.to_dict("records"), facts, strict=True):
        ids = tokenizer.encode(f"{fact.text} {fact.target}")
        start = len(tokenizer.encode(fact.text))
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = sum(log_p[i - 1, ids[i]] for i in range(start, len(ids))).exp()
        assert row["probability"] == pytest.approx(float(expected), rel=1e-5)
        assert (row["prompt"], row["subject"]) == (fact.text, fact.subject)
