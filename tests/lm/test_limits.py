"""Texts that are longer than the model sees: all are named before anything is computed."""

from dataclasses import replace

import pytest

from modeledit.data.requests import Neighbor
from modeledit.lm.limits import LONGEST_CONTEXT, check_lengths
from modeledit.lm.model import EditableModel, ModelError
from modeledit.lm.tokens import encode
from tests.reference import models as tiny

GPT2 = EditableModel(tiny.tiny_gpt2())  # 256 positions
TOKENIZER = tiny.tiny_tokenizer()
REQUESTS = tiny.tiny_requests()
LONG = " ".join(["word"] * 400)


def test_what_fits_is_not_refused():
    check_lengths(GPT2, TOKENIZER, REQUESTS, ["A short text."])
    # many bytes, few tokens
    wide = "the capital of the country " * 12
    assert len(wide.encode()) > 256 > len(encode(TOKENIZER, wide))
    check_lengths(GPT2, TOKENIZER, REQUESTS, [wide])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"prompt": f"{LONG} {{}} is in"}, "its prompt"),
        ({"paraphrases": ("short", f"{LONG} is in")}, "paraphrase 1"),
        ({"neighbors": (Neighbor("{} is in", LONG, "France"),)}, "neighbor 0"),
        ({"neighbors": (Neighbor("{} is in", "Nice", LONG),)}, "neighbor 0"),
        ({"editing_neighbors": (Neighbor(LONG + " {}", "Nice", "it"),)}, "editing neighbor 0"),
    ],
)
def test_what_is_too_long_is_named(change, named):
    requests = [REQUESTS[0], replace(REQUESTS[1], **change)]
    with pytest.raises(ModelError) as error:
        check_lengths(GPT2, TOKENIZER, requests)
    first, *lines = str(error.value).splitlines()
    assert first.startswith("1 texts are longer than 256 tokens (the model has an embedding for")
    (line,) = lines
    assert line.strip().startswith(f"request {requests[1].id}, {named}: ") and "tokens" in line


def test_many_are_counted_and_ten_named():
    with pytest.raises(ModelError, match=r"(?s)^13 texts .*text 9 of ME-PPL.*and 3 more$"):
        check_lengths(GPT2, TOKENIZER, REQUESTS, [LONG] * 13)


def test_a_prompt_may_be_too_long_in_its_context_alone():
    request = replace(REQUESTS[0], prompt="the capital of the country " * 48 + "{} is in")
    check_lengths(GPT2, TOKENIZER, [request], contexts=["{}"])
    with pytest.raises(ModelError, match="request 0, its prompt"):
        check_lengths(GPT2, TOKENIZER, [request], contexts=["{}", LONGEST_CONTEXT])


def test_rotary_embeddings_have_no_limit():
    check_lengths(EditableModel(tiny.tiny_llama()), TOKENIZER, REQUESTS, [LONG])
