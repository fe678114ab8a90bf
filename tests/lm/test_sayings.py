"""Which prompts are continued, and the tables that come of them."""

import pytest
import torch

from modeledit.data.probes import Probe
from modeledit.evaluation.schemas import GENERATIONS, RAW_SCORES
from modeledit.lm.model import EditableModel
from modeledit.lm.sayings import Prompt, probe_prompts, request_prompts, sayings, subject_prompts
from modeledit.lm.scoring import score, score_probes
from modeledit.lm.tokens import PromptError
from tests.editing.device_study import REQUESTS, TOKENIZER
from tests.presets import CORRECTED, PUBLISHED
from tests.reference import models as tiny
from tests.reference.plain_generation import continue_prompt

PROBES = (
    Probe(0, "two_hop", "The currency of Lyon is the", ("Sol", "Peru Sol"), (), "Euro"),
    Probe(0, "two_hop", "The capital of the country of Lyon is", ("Lima",), (), "Paris"),
    Probe(0, "negation", "Lyon is not in", (), ("Peru",), None),
    Probe(2, "two_hop", "The currency of Cusco is the", ("Yen",), (), None),
)
SWITCHES = CORRECTED.scoring()


@pytest.mark.parametrize("switches", [CORRECTED, PUBLISHED])
def test_prompts_of_requests_are_counted_as_their_scores_are(switches):
    model = EditableModel(tiny.tiny_gpt2())
    scored = score(model, TOKENIZER, REQUESTS, switches.scoring()).to_pylist()
    expected = {(r["request"], r["kind"], r["index"]) for r in scored}
    found = request_prompts(REQUESTS, TOKENIZER, switches.scoring())
    assert {prompt[:3] for prompt in found} == expected and len(found) == len(expected)
    first = REQUESTS[0]
    assert found[0] == Prompt(first.id, "edit", 0, first.text)
    assert Prompt(first.id, "paraphrase", 0, first.paraphrases[0]) in found
    assert Prompt(first.id, "neighbor", 0, first.neighbors[0].text) in found


def test_texts_about_a_subject_begin_with_each_template():
    found = subject_prompts(REQUESTS[:1], ("{} is", "The history of {}"))
    subject, id_ = REQUESTS[0].subject, REQUESTS[0].id
    assert found == [
        Prompt(id_, "subject", 0, f"{subject} is"),
        Prompt(id_, "subject", 1, f"The history of {subject}"),
    ]


def test_what_is_said_is_the_plain_loop_in_the_columns_of_the_schema():
    model = tiny.tiny_gpt2(dtype=torch.float64)
    prompts = [Prompt(3, "edit", 0, "Lyon is"), Prompt(5, "neighbor", 2, "Paris is a city in")]
    table = sayings(EditableModel(model), TOKENIZER, prompts, 6, 4096)
    assert table.schema == GENERATIONS.columns
    for prompt, row in zip(prompts, table.to_pylist(), strict=True):
        ids, ended = continue_prompt(model, TOKENIZER, TOKENIZER(prompt.text)["input_ids"], 6)
        assert (row["token_ids"], row["ended"], row["prompt"]) == (ids, ended, prompt.text)
        assert (row["request"], row["kind"], row["index"]) == prompt[:3]


def test_a_prompt_without_tokens_is_refused_by_its_request():
    with pytest.raises(PromptError, match="request 7: the probe prompt '' has no tokens"):
        sayings(EditableModel(tiny.tiny_gpt2()), TOKENIZER, [Prompt(7, "probe", 0, "")], 5, 64)


def test_probes_are_scored_by_their_first_answer_and_what_was_there_before():
    model = EditableModel(tiny.tiny_gpt2(dtype=torch.float64))
    table = score_probes(model, TOKENIZER, PROBES, SWITCHES, 4096)
    assert table.schema == RAW_SCORES.columns
    rows = {(r["request"], r["kind"], r["index"], r["object"]): r for r in table.to_pylist()}
    said = {
        (0, "two_hop", 0, "new"): "The currency of Lyon is the Sol",
        (0, "two_hop", 0, "true"): "The currency of Lyon is the Euro",
        (0, "two_hop", 1, "new"): "The capital of the country of Lyon is Lima",
        (0, "two_hop", 1, "true"): "The capital of the country of Lyon is Paris",
        (0, "negation", 0, "true"): "Lyon is not in Peru",
        (2, "two_hop", 0, "new"): "The currency of Cusco is the Yen",
    }
    assert rows.keys() == said.keys()
    for key, text in said.items():
        ids = TOKENIZER(text)["input_ids"]
        labels = rows[key]["token_ids"]
        assert ids[-len(labels) :] == labels
        logits = model.model(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        at = range(len(ids) - len(labels) - 1, len(ids) - 1)
        expected = [float(logits[i, label]) for i, label in zip(at, labels, strict=True)]
        assert rows[key]["logprobs"] == pytest.approx(expected, rel=1e-5)


def test_probes_and_their_continuations_are_counted_alike():
    assert [prompt[:3] for prompt in probe_prompts(PROBES)] == [
        (0, "two_hop", 0),
        (0, "two_hop", 1),
        (0, "negation", 0),
        (2, "two_hop", 0),
    ]
