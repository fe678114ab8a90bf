"""oneDNN's products are torch's own to rounding, there and back, and only where they can be."""

import copy

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from modeledit.lm import products
from modeledit.lm.model import EditableModel
from modeledit.lm.products import by_onednn, fits, gram
from tests.reference import models as tiny


def layer(kind: type, bias: bool = True) -> nn.Module:
    torch.manual_seed(0)
    made = kind(20, 12) if kind is Conv1D else kind(12, 20, bias=bias)
    return made.requires_grad_(False)


@pytest.mark.parametrize("shape", [(7, 12), (2, 3, 12), (1, 12), (0, 12)])
@pytest.mark.parametrize(("kind", "bias"), [(nn.Linear, True), (nn.Linear, False), (Conv1D, True)])
def test_values_and_gradients(kind, bias, shape):
    own, other = layer(kind, bias), layer(kind, bias)
    by_onednn(nn.Sequential(other))
    x = torch.randn(shape, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    expected, found = own(x), other(y)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    torch.testing.assert_close(y.grad, x.grad, rtol=1e-5, atol=1e-6)


def test_it_is_onednn_that_multiplies(monkeypatch):
    calls = []
    true = products.product
    monkeypatch.setattr(products, "product", lambda *given: calls.append(1) or true(*given))
    own = layer(nn.Linear)
    by_onednn(nn.Sequential(own))
    own(torch.randn(3, 12, requires_grad=True)).sum().backward()
    assert len(calls) == 2


def test_a_written_weight_counts_at_once():
    own = layer(nn.Linear)
    by_onednn(nn.Sequential(own))
    x = torch.randn(3, 12)
    own(x)
    own.weight.mul_(2)
    torch.testing.assert_close(own(x), nn.functional.linear(x, own.weight, own.bias))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gram_matrix(dtype):
    x = torch.randn(30, 20, dtype=dtype)
    torch.testing.assert_close(gram(x), x.T @ x, rtol=1e-5, atol=1e-5)


def test_everything_else_takes_torchs_own_way():
    x, weight = torch.randn(3, 12), torch.randn(20, 12)
    assert fits(x, weight)
    assert not fits(x.double(), weight.double()) and not fits(x[:0], weight)
    assert not fits(x.to("meta"), weight.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not fits(x, weight)
    own = layer(nn.Linear)
    by_onednn(nn.Sequential(own))
    assert own.double()(x.double()).dtype == torch.float64
    trained = nn.Linear(12, 20)
    by_onednn(nn.Sequential(trained))
    trained(x).sum().backward()
    assert trained.weight.grad is not None


@pytest.mark.parametrize("builder", [tiny.tiny_gpt2, tiny.tiny_gptj, tiny.tiny_llama])
def test_a_model_answers_as_before(builder):
    ids = torch.arange(20)[None]
    expected = builder()(ids).logits
    model = EditableModel(builder()).model
    assert model.get_output_embeddings().forward.__func__ is products._linear
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, expected, rtol=1e-4, atol=1e-4)
        # A copy multiplies with its own weights.
        twin = copy.deepcopy(model)
        for parameter in twin.parameters():
            parameter.zero_()
        assert twin(ids).logits.abs().max() == 0
        assert model(ids).logits.abs().max() > 0
