"""Greedy continuations of many prompts at once, token for token those of the plain loop."""

import pytest
import torch

from modeledit.lm import generation
from modeledit.lm.generation import Speaker
from modeledit.lm.model import EditableModel, ModelError
from tests.editing.device_study import FAMILIES
from tests.reference import models as tiny
from tests.reference.plain_generation import continue_prompt

TEXTS = (
    "Lyon is a city in the country of",
    "Lyon is",
    "The mother tongue of the writer is",
    "Lyon is a city in the country of",  # again
    "Paris",
    "The people of the city speak French. The people of the country",
    "Osaka is a city in",
)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_plain_loop_token_for_token(family):
    model = FAMILIES[family](dtype=torch.float64)
    tokenizer = tiny.tiny_tokenizer(bos="llama" in family)
    prompts = [tokenizer(text)["input_ids"] for text in TEXTS]
    speaker = Speaker(EditableModel(model), tokenizer, 12, 4096)
    found = speaker.continuations(prompts)
    lengths = set()
    for prompt, one in zip(prompts, found, strict=True):
        ids, ended = continue_prompt(model, tokenizer, prompt, 12)
        assert (list(one.ids), one.ended) == (ids, ended)
        lengths.add(len(one.ids))
    # a small budget: other batches, the same words
    assert Speaker(EditableModel(model), tokenizer, 12, 20).continuations(prompts) == found


def test_rows_that_ended_leave_the_batch_and_the_others_speak_on():
    model = tiny.tiny_llama(dtype=torch.float64)
    tokenizer = tiny.tiny_tokenizer()
    prompts = [tokenizer(text)["input_ids"] for text in TEXTS]
    plain = [continue_prompt(model, tokenizer, prompt, 12)[0] for prompt in prompts]
    # An end that some rows come to and others do not: an id that not every continuation has.
    counts = {token: sum(token in row for row in plain) for row in plain for token in row}
    end = next(token for token, count in sorted(counts.items()) if 2 <= count < len(plain) - 1)
    model.generation_config.eos_token_id = [end, tokenizer.eos_token_id]
    expected = [continue_prompt(model, tokenizer, prompt, 12) for prompt in prompts]
    assert {ended for _, ended in expected} == {"stop", "length"}
    found = Speaker(EditableModel(model), tokenizer, 12, 4096).continuations(prompts)
    assert [(list(one.ids), one.ended) for one in found] == expected
    for one in found:
        assert (one.ids[-1] == end) == (one.ended == "stop")
        assert one.text == tokenizer.decode([i for i in one.ids if i != end])


def test_the_text_is_what_comes_before_the_end_of_the_line(monkeypatch):
    model, tokenizer = EditableModel(tiny.tiny_gpt2()), tiny.tiny_tokenizer()
    line = tokenizer(" the city.\n")["input_ids"]
    speaker = Speaker(model, tokenizer, len(line) + 3, 4096)
    prompt = tokenizer("Lyon is")["input_ids"]
    said = iter(line)

    def head(states):
        logits = torch.zeros(len(states), model.vocabulary)
        logits[:, next(said)] = 1.0
        return logits

    monkeypatch.setattr(model, "log_probabilities", head)
    (one,) = speaker.continuations([prompt])
    assert (list(one.ids), one.text, one.ended) == (line, " the city.", "stop")


def test_a_prompt_without_room_for_what_may_follow_is_refused():
    model = EditableModel(tiny.tiny_gpt2())
    room = model.limit.tokens
    speaker = Speaker(model, tiny.tiny_tokenizer(), 5, 4096)
    speaker.continuations([[1] * (room - 5)])
    with pytest.raises(ModelError, match=f"a text of {room + 1} tokens"):
        speaker.continuations([[1] * (room - 4)])


def test_less_memory_means_smaller_batches_and_the_same_words(monkeypatch):
    model, tokenizer = EditableModel(tiny.tiny_gpt2(dtype=torch.float64)), tiny.tiny_tokenizer()
    prompts = [tokenizer(text)["input_ids"] for text in TEXTS]
    speaker = Speaker(model, tokenizer, 6, 4096)
    whole, plain = speaker.continuations(prompts), generation.run_prefixes

    def short(model, tree, hidden, start, lengths, width):
        if len(lengths) > 2:
            raise torch.OutOfMemoryError
        return plain(model, tree, hidden, start, lengths, width)

    monkeypatch.setattr(generation, "run_prefixes", short)
    assert speaker.continuations(prompts) == whole
