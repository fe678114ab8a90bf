"""The panel is judged as neighbors are, and its probabilities are the model's."""

import pytest
import torch

from modeledit.data.requests import Neighbor, Request
from modeledit.evaluation.schemas import PANEL
from modeledit.lm.eligibility import judge_neighbors
from modeledit.lm.model import EditableModel
from modeledit.lm.panel import ask_panel
from tests.reference import models as tiny


def test_it_says_what_the_filter_finds_and_how_likely_the_object_is():
    model, tokenizer = tiny.tiny_gpt2(dtype=torch.float64), tiny.tiny_tokenizer()
    facts = [
        Neighbor("{} is a city in", place, target)
        for place, target in (("Lyon", "France"), ("Osaka", "Japan"), ("Rome", "a country"))
    ]
    said = ask_panel(EditableModel(model), tokenizer, facts, 300)
    assert list(said.columns) == list(PANEL.names)
    request = Request(0, "X", "{} is", "Japan", "Peru", neighbors=tuple(facts))
    verdicts = judge_neighbors(EditableModel(model), tokenizer, [request])
    assert said["said"].tolist() == verdicts["predicted"].tolist()
    for row, fact in zip(said.to_dict("records"), facts, strict=True):
        ids = tokenizer.encode(f"{fact.text} {fact.target}")
        start = len(tokenizer.encode(fact.text))
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        expected = sum(log_p[i - 1, ids[i]] for i in range(start, len(ids))).exp()
        assert row["probability"] == pytest.approx(float(expected), rel=1e-5)
        assert (row["prompt"], row["subject"]) == (fact.text, fact.subject)
