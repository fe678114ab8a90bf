"""Token rows: teacher forcing, the subject's last token, contexts (SPEC A.3-A.6, D.1)."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from modeledit.data.writing import separator
from modeledit.editing.problem import build_problem
from modeledit.lm.contexts import SEED_WORDS, clean_context, generate_contexts
from modeledit.lm.tokens import (
    CONTINUATION,
    PromptError,
    Row,
    Tokenization,
    encode,
    subject_index,
    subject_row,
    target_row,
)
from modeledit.study.methods import METHODS
from tests.reference import models as tiny
from tests.reference import plain

TOKENIZERS = {"no BOS": tiny.tiny_tokenizer(), "BOS": tiny.tiny_tokenizer(bos=True)}
TOKENIZER = TOKENIZERS["no BOS"]
OLD = Tokenization("legacy")
REQUESTS = tiny.tiny_requests()
CONTEXTS = tiny.tiny_contexts()
LENGTHS = METHODS["MEMIT"].context_lengths
LEGACY = plain.Settings(
    method="MEMIT",
    layers=[1],
    lr=0.5,
    steps=1,
    clamp=1.0,
    weight_decay=0.0,
    kl_factor=0.0,
    target_tokenization="legacy",
)

both_tokenizers = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=TOKENIZERS)
words = st.text("aeinorst LFP'áß日", min_size=1, max_size=12).map(str.strip).filter(bool)


def small_tokenizer(*tokens, merges=(), normalizer=None):
    """Tokenizer of a few characters; what it does not know is `<unk>`, once per stretch."""
    vocabulary = {token: i for i, token in enumerate(("<unk>", *tokens))}
    tokenizer = Tokenizer(BPE(vocabulary, list(merges), unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizer
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


# Merges across a word border, as SentencePiece may.
BORDER = small_tokenizer("a", "b", " ", "c", "b ", merges=[("b", " ")])


@both_tokenizers
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda r: r.subject)
def test_a_row_continues_its_prompt(tokenizer, request_):
    several = 0
    for target in (request_.target_new, request_.target_true):
        ids, n_prompt = plain.continuation(tokenizer, request_.text, target)
        row = target_row(tokenizer, request_.text, target)
        assert (*row.ids, row.labels[-1]) == tuple(ids)
        assert row.labels == tuple(ids[n_prompt:])
        # the position that predicts the first label is the prompt's last
        assert row.first_label == n_prompt - 1
        assert row.subject == -1
        several += len(row.labels) > 1
    if request_.id == 2:
        assert several == 2


@both_tokenizers
@given(prompt=words, target=words)
def test_labels_are_the_targets_tokens(tokenizer, prompt, target):
    row = target_row(tokenizer, prompt, target)
    assert tokenizer.decode(row.labels) == separator(prompt, target) + target
    assert row.ids[-len(row.labels) :][1:] == row.labels[:-1]


@both_tokenizers
def test_legacy_rows_equal_the_reference(tokenizer):
    for request in REQUESTS:
        for context in CONTEXTS:
            expected = plain.teacher_forced_row(
                tokenizer, context, request.prompt, request.subject, request.target_new, LEGACY
            )
            row = subject_row(
                tokenizer, context, request.prompt, request.subject, request.target_new, OLD
            )
            assert list(row.ids) == expected.ids
            assert list(row.labels) == expected.labels
            assert row.subject == expected.subject
            assert row.first_label == expected.positions[0]


def test_legacy_labels_lose_an_opening_unknown_token():
    tokenizer = small_tokenizer("a", "c")  # no space
    assert tokenizer(" c")["input_ids"] == [0, 2]
    row = target_row(tokenizer, "aa", "c", tokenization=OLD)
    assert row == Row(ids=(1, 1), labels=(2,))


def test_a_target_begins_where_the_tokens_part():
    assert encode(BORDER, "ab") == [1, 2] and encode(BORDER, "ab c") == [1, 5, 4]
    assert target_row(BORDER, "ab", "c") == Row(ids=(1, 5), labels=(5, 4))


@pytest.mark.parametrize(
    ("tokenizer", "prompt", "target"),
    [
        pytest.param(BORDER, "b", "c", id="nothing is left of the prompt"),
        pytest.param(TOKENIZER, "", "Rome", id="no prompt, no BOS"),
        pytest.param(
            small_tokenizer("a", " ", normalizer=normalizers.Strip(left=False)),
            "a",
            "",
            id="the tokenizer drops the space",
        ),
    ],
)
def test_a_target_without_a_place_is_refused(tokenizer, prompt, target):
    with pytest.raises(PromptError, match=f"target '{target}' .* after prompt '{prompt}'"):
        target_row(tokenizer, prompt, target)


@pytest.mark.parametrize("template", ["The capital is", "{} and {} are"])
def test_a_template_must_have_one_slot(template):
    for ask in (
        lambda: subject_row(TOKENIZER, "{}", template, "Rome"),
        lambda: subject_row(TOKENIZER, CONTEXTS[1], template, "Rome", "Italy"),
    ):
        with pytest.raises(PromptError, match="must hold exactly one {}"):
            ask()


@both_tokenizers
@given(before=words, subject=words, after=words)
def test_the_subjects_last_token_by_naive_count(tokenizer, before, subject, after):
    """The last token that begins within the subject, by the tokenizer's character offsets."""
    for template in (f"{before} {{}} {after}", f"{{}} {after}", f"{before} {{}}", "{}"):
        text = template.replace("{}", subject)
        end = template.index("{}") + len(subject)
        offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
        naive = max(i for i, (start, stop) in enumerate(offsets) if start < stop and start < end)
        assert subject_index(tokenizer, text, encode(tokenizer, text), end) == naive


GLUED = small_tokenizer("a", "b", "s", " ", "bs", "c", merges=[("b", "s")])


@pytest.mark.parametrize("target", [None, "c"])
@pytest.mark.parametrize("tokenization", [CONTINUATION, OLD], ids=["continuation", "legacy"])
def test_an_ending_in_the_subjects_last_token(target, tokenization):
    """The token that holds the subject's last letter, whatever else it holds."""
    row = subject_row(GLUED, "{}", "a {}s a", "ab", target, tokenization)
    assert encode(GLUED, "a ab") == [1, 4, 1, 2] and encode(GLUED, "a abs") == [1, 4, 1, 5]
    assert row.subject == 3 and row.ids[3] == 5
    # a prompt that ends with its subject, into which the object's first token reaches
    row = subject_row(BORDER, "{}", "a{}", "b", "c")
    assert (row.ids, row.labels, row.subject) == ((1, 5), (5, 4), 1)


def test_without_offsets_such_a_subject_is_refused(monkeypatch):
    monkeypatch.setattr(type(GLUED), "is_fast", False)
    assert subject_row(GLUED, "{}", "a {} s", "ab").subject == 3
    with pytest.raises(PromptError, match="the subject's last letter; reword the prompt"):
        subject_row(GLUED, "{}", "a {}s", "ab")


@pytest.mark.parametrize("tokenization", [CONTINUATION, OLD], ids=["continuation", "legacy"])
def test_an_object_of_a_script_without_spaces_follows_directly(tokenization):
    row = target_row(TOKENIZER, "首都は", "東京", tokenization)
    assert TOKENIZER.decode(row.labels) == "東京"
    if tokenization == CONTINUATION:  # the other one decodes labels[:-1], here half a character
        assert TOKENIZER.decode([*row.ids, row.labels[-1]]) == "首都は東京"
    assert TOKENIZER.decode(target_row(TOKENIZER, "首都は", "Rome", tokenization).labels) == " Rome"


@both_tokenizers
def test_a_row_without_target_ends_at_the_subject(tokenizer):
    for request in REQUESTS:
        for context in CONTEXTS:
            row = subject_row(tokenizer, context, request.prompt, request.subject)
            whole = plain.prompt_row(tokenizer, context, request.prompt, request.subject)
            assert row.labels == ()
            assert row.subject == whole.subject == len(row.ids) - 1
            assert list(row.ids) == whole.ids[: whole.subject + 1]


def test_other_braces_of_a_prompt_stay():
    row = subject_row(TOKENIZER, "He said. {}", "In {x} or {}, {y", "Rome", "{z}")
    assert TOKENIZER.decode([*row.ids, row.labels[-1]]) == "He said. In {x} or Rome, {y {z}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The river is", "The river is. {}"),
        ("a {b} {c", "a  b   c. {}"),
        ("The\n\nriver\n", "The river\n. {}"),
        ("I<|endoftext|> think", "I think. {}"),
        ("ﬁne\u00a0caf\u00e9", "fine cafe\u0301. {}"),  # NFKD
        ("\uff5bfull width\uff5d", " full width . {}"),  # NFKD makes braces of these
        ("", ". {}"),
    ],
)
def test_a_context_is_cleaned(text, expected):
    assert clean_context(text) == expected


@given(st.text())
def test_a_clean_context_has_one_slot_at_its_end(text):
    context = clean_context(text)
    assert context.endswith(". {}")
    assert context.count("{") == context.count("}") == 1


@pytest.mark.parametrize(
    ("lengths", "count"), [(((10, 1),), 1 + 5), (((5, 2), (10, 2)), 1 + 10 + 10)]
)
@both_tokenizers
def test_generated_contexts(tokenizer, lengths, count):
    contexts = generate_contexts(tiny.tiny_llama(), tokenizer, lengths, 42)
    assert len(contexts) == count
    assert contexts[0] == "{}"
    for context in contexts[1:]:
        assert context.count("{}") == 1 and context.endswith(". {}")
    per_length = [word for _, n in lengths for word in SEED_WORDS for _ in range(n)]
    for word, context in zip(per_length, contexts[1:], strict=True):
        assert context.startswith(word)


def test_a_seed_word_that_is_long_enough_is_a_context_itself():
    tokenizer = tiny.tiny_sentencepiece()
    contexts = generate_contexts(tiny.tiny_llama(), tokenizer, ((3, 1),), 42)
    assert len(encode(tokenizer, "Therefore")) > 3
    assert contexts[0] == "{}" and "Therefore. {}" in contexts


def test_contexts_depend_on_the_seed_alone():
    model = tiny.tiny_llama()
    state = torch.random.get_rng_state()
    first = generate_contexts(model, TOKENIZER, LENGTHS, 42)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    assert generate_contexts(model, TOKENIZER, LENGTHS, 42) == first
    other = generate_contexts(model, TOKENIZER, LENGTHS, 43)
    assert other[0] == first[0] and other[1:] != first[1:]


@both_tokenizers
def test_end_of_text_neither_stops_nor_is_kept_from_a_context(tokenizer):
    model = tiny.tiny_gptj()
    with torch.no_grad():
        model.lm_head.bias[tokenizer.eos_token_id] = 1e4
    steps = []
    model.register_forward_hook(lambda *_: steps.append(1))
    contexts = generate_contexts(model, tokenizer, LENGTHS, 42)
    assert contexts == ["{}", *(f"{word}. {{}}" for word in SEED_WORDS)]
    # ten tokens each, the seed word and BOS among them
    assert len(steps) == sum(10 - len(encode(tokenizer, word)) for word in SEED_WORDS)


def with_neighbors(request, count):
    neighbors = (*request.editing_neighbors, *(n for n in request.neighbors if n.subject))
    return replace(request, editing_neighbors=neighbors[:count])


@both_tokenizers
@pytest.mark.parametrize("n_neighbors", [0, 1, 2])
@pytest.mark.parametrize("neighbor_contexts", [["{}"], CONTEXTS[1:2], CONTEXTS], ids=len)
def test_a_problem_has_its_rows_in_order(tokenizer, n_neighbors, neighbor_contexts):
    request = with_neighbors(REQUESTS[1], 3)
    problem = build_problem(tokenizer, request, CONTEXTS, neighbor_contexts, n_neighbors)
    settings = replace(LEGACY, target_tokenization="continuation")
    edits = plain.edit_rows(tokenizer, request, CONTEXTS, settings)
    chosen = request.editing_neighbors[:n_neighbors]
    others = plain.neighbor_rows(tokenizer, chosen, neighbor_contexts, settings)
    assert len(problem.neighbor_rows) == n_neighbors * len(neighbor_contexts)
    for row, expected in zip(
        (*problem.edit_rows, *problem.neighbor_rows), (*edits, *others), strict=True
    ):
        found = Row(tuple(expected.ids), tuple(expected.labels), expected.subject)
        assert row == found
    kl = plain.prompt_row(tokenizer, "{}", "{} is a", request.subject)
    assert problem.kl_row == Row(tuple(kl.ids[: kl.subject + 1]), (), kl.subject)


def test_a_prefixed_neighbor_row_begins_with_the_prefix():
    request = REQUESTS[0]
    neighbor = request.editing_neighbors[0]
    bare = build_problem(TOKENIZER, request, CONTEXTS, ["{}"], 1).neighbor_rows[0]
    prefixed = build_problem(TOKENIZER, request, CONTEXTS, CONTEXTS[1:2], 1).neighbor_rows[0]
    text = f"{CONTEXTS[1].replace('{}', neighbor.text)} {neighbor.target}"
    assert TOKENIZER.decode([*prefixed.ids, prefixed.labels[-1]]) == text
    assert prefixed.labels == bare.labels
    assert prefixed.subject - bare.subject == len(prefixed.ids) - len(bare.ids) > 0


def test_too_few_editing_neighbors_are_named():
    with pytest.raises(PromptError, match="request 3 has 1 editing neighbors, 2 are asked for"):
        build_problem(TOKENIZER, REQUESTS[3], CONTEXTS, n_neighbors=2)


def test_an_editing_neighbor_needs_a_subject():
    nameless = replace(REQUESTS[1], editing_neighbors=REQUESTS[1].neighbors[1:2])
    assert nameless.editing_neighbors[0].subject is None
    with pytest.raises(PromptError, match="must hold exactly one {} for the subject"):
        build_problem(TOKENIZER, nameless, CONTEXTS, n_neighbors=1)
