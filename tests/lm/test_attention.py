"""Attention to a fixed prefix, against the usual function over prefix and tokens joined."""

from types import SimpleNamespace

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.gemma2.modeling_gemma2 import eager_attention_forward

from modeledit.lm.attention import KeyValues, apart_from, attend_to_prefix

ROWS, WIDTH, PAST, TOKENS = 5, 8, 7, 3
CONFIG = LlamaConfig(attn_implementation="sdpa")
NEAR = {"rtol": 1e-5, "atol": 1e-6}  # the usual function's softmax is in float32, always


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("heads", "shared"), [(6, 6), (6, 2), (6, 1)])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_it_equals_the_usual_function_and_its_gradients(heads, shared, softcap):
    torch.manual_seed(0)
    module = SimpleNamespace(layer_idx=4, num_key_value_groups=heads // shared, training=False)
    query, key, value = (drawn(ROWS, n, TOKENS, WIDTH) for n in (heads, shared, shared))
    prefix = KeyValues({4: (drawn(ROWS, shared, PAST, WIDTH), drawn(ROWS, shared, PAST, WIDTH))})
    mask = torch.zeros(ROWS, 1, TOKENS, PAST + TOKENS, dtype=torch.float64)
    mask[..., PAST:].masked_fill_(~torch.ones(TOKENS, TOKENS).tril().bool(), -1e300)
    mask[1:, ..., :2] = -1e300  # prefixes of other lengths
    options = {"scaling": 0.3, "softcap": softcap}

    joined = prefix.update(key, value, 4)
    assert joined[0].shape[2] == PAST + TOKENS
    expected, _ = eager_attention_forward(module, query, *joined, mask, **options)
    gradient = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, (query, key, value), gradient)

    with apart_from(prefix, CONFIG):
        assert CONFIG._attn_implementation != "sdpa"
        own = prefix.update(key, value, 4)
        assert own[0] is key and own[1] is value
        found, weights = attend_to_prefix(module, query, *own, mask, **options)
    assert CONFIG._attn_implementation == "sdpa" and weights is None
    torch.testing.assert_close(found, expected, **NEAR)
    got = torch.autograd.grad(found, (query, key, value), gradient)
    torch.testing.assert_close(got, wanted, **NEAR)


def test_it_is_for_the_time_of_its_context_alone():
    values = torch.zeros(1, 1, 1, 1)
    with pytest.raises(RuntimeError, match="apart_from"):
        attend_to_prefix(None, values, values, values, values, 1.0)
    with pytest.raises(ZeroDivisionError), apart_from(KeyValues({}), CONFIG):
        raise ZeroDivisionError
    assert CONFIG._attn_implementation == "sdpa"
