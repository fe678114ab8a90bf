"""How far an edited model's distributions have moved, against the plain loop."""

import copy

import pytest
import torch

from modeledit.lm.drift import drift, outputs
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import Row
from tests.editing.device_study import FAMILIES
from tests.reference import models as tiny
from tests.reference.plain_generation import text_drift


def rows_of(tokenizer):
    texts = [line for line in tiny.TEXT.splitlines()[:4]]
    ids = [tokenizer(text)["input_ids"] for text in texts]
    return [Row(tuple(one[:-1]), tuple(one[1:])) for one in ids]


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_plain_loop(family, monkeypatch):
    monkeypatch.setattr("modeledit.lm.drift.POSITIONS", 7)
    unedited = FAMILIES[family](dtype=torch.float64)
    rows = rows_of(tiny.tiny_tokenizer())
    model = EditableModel(copy.deepcopy(unedited))
    before = outputs(model, rows, 256)
    weight = model.down_weight(1)
    torch.manual_seed(1)
    model.write_down_weight(1, weight + 0.3 * torch.randn_like(weight))
    after = outputs(model, rows, 64)
    for row, found in zip(rows, drift(model, rows, before, after), strict=True):
        ids = [*row.ids, row.labels[-1]]
        expected = text_drift(unedited, model.model, ids)
        assert found.tokens == len(ids) - 1
        assert (found.kl, found.nll, found.nll_unedited) == pytest.approx(
            expected, rel=1e-7
        )  # softmax of some in float32
        assert found.kl > 0


def test_a_model_that_did_not_move_has_no_drift():
    model = EditableModel(tiny.tiny_gpt2())
    rows = rows_of(tiny.tiny_tokenizer())
    states = outputs(model, rows, 256)
    for found in drift(model, rows, states, states):
        assert found.kl == 0 and found.nll == found.nll_unedited
