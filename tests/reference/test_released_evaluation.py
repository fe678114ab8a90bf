"""Under the preset `published` the engine's metrics are those of the released evaluation."""

import math
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from modeledit.data.readers import read_counterfact, read_me_ppl, read_zsre
from modeledit.evaluation import metrics
from modeledit.lm.model import EditableModel
from modeledit.lm.scoring import own_objects, score, score_unedited
from modeledit.study.layout import RunKey
from tests.presets import CORRECTED, PUBLISHED
from tests.reference import models as tiny
from tests.reference import released_evaluation as released
from tests.tables import run_metrics

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("MODELEDIT_DATA", ROOT.parent / "shared" / "data"))
READERS = {
    "counterfact": (read_counterfact, "counterfact/random_subset_1.json"),
    "zsre": (read_zsre, "zsre/random_subset_0.json"),
}
FAMILIES = {"gpt2": tiny.tiny_gpt2, "gptj": tiny.tiny_gptj, "llama": tiny.tiny_llama}
N = 60  # records of each dataset
LONGEST = 250  # characters of a prompt that the tiny models' 256 positions hold
RUN = RunKey("d", "m", "MEMIT", 1)


def records(dataset, n=N, longest=LONGEST):
    """The first requests of a published file whose prompts are not too long for a tiny model."""
    read, name = READERS[dataset]
    if not (DATA / name).is_file():
        pytest.skip(f"the published data is not here: {DATA / name}")
    found = list(
        islice(
            (
                request
                for request in read(DATA / name)
                if all(
                    len(text) < longest
                    for text in (request.text, *request.paraphrases)
                    + tuple(neighbor.text + neighbor.target for neighbor in request.neighbors)
                )
            ),
            n,
        )
    )
    assert len(found) == n
    return sorted(found, key=lambda request: request.id)


def published_texts():
    return read_me_ppl(DATA / "ME-PPL_50.json")


@dataclass(frozen=True)
class Compared:
    """What the comparison met: the unedited model's own answers, and both sides' rows."""

    own: dict[tuple[int, int], str]
    theirs: pd.DataFrame  # one row per k: released summary and ME-PPL
    ours: pd.DataFrame  # metrics.csv of the engine


def perturb(model, size, seed=0):
    """An edit of sorts: noise on the down projections, as large as `size` of each matrix."""
    generator = torch.Generator().manual_seed(seed)
    for layer in range(model.depth):
        weight = model.down_weight(layer)
        noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
        model.write_down_weight(layer, weight + size * weight.std() * noise)


def compare(model, tokenizer, requests, texts, size=0.3, budget=4000) -> Compared:
    """Evaluate before and after an edit with both, and demand equal metrics of every request."""
    hf = model.model
    settings = PUBLISHED.scoring()
    oracle = released.Evaluation(tokenizer, requests)
    theirs = [oracle.before(hf)]
    ceiling = oracle.after(hf)  # the unedited model on its own answers
    perplexities = [released.me_perplexity(hf, tokenizer, texts)]
    tables = [score_unedited(model, tokenizer, requests, settings, texts, budget)]
    own = own_objects(tables[0], tokenizer)
    assert own == {(r.id, j): text for r in requests for j, text in enumerate(oracle.own[r.id])}
    perturb(model, size)
    theirs.append(oracle.after(hf))
    perplexities.append(released.me_perplexity(hf, tokenizer, texts))
    tables.append(score(model, tokenizer, requests, settings, texts, budget, own))

    frames = [table.to_pandas() for table in tables]
    found = {
        k: metrics.request_metrics(
            frame, frames[0] if k else None, PUBLISHED.accuracy, PUBLISHED.success
        )
        for k, frame in enumerate(frames)
    }
    for values, one in zip(theirs[0], ceiling, strict=True):
        values["spec_acc"] = one["spec_acc"]
    for k in (0, 1):
        assert found[k]["request"].tolist() == [r.id for r in requests]
        expected = pd.DataFrame(theirs[k])[list(metrics.REQUEST_METRICS)]
        pd.testing.assert_frame_equal(found[k][list(metrics.REQUEST_METRICS)], expected)
    edits = pd.DataFrame(dict.fromkeys(("p_init_legacy", "p_bar_legacy", "p_hat_legacy"), [1.0]))
    ours = run_metrics(
        dict(enumerate(frames)),
        {1: edits},
        run=RUN,
        scoring=metrics.Scoring.of(PUBLISHED),
        sequential=False,
    )
    rows = pd.DataFrame([released.summary(values) for values in theirs])
    rows["me_ppl"] = perplexities
    rows.loc[0, "score_acc"] = math.nan  # the ceiling is no specificity to make a score of
    columns = [*metrics.FRACTIONS, "me_ppl"]
    pd.testing.assert_frame_equal(ours[columns], rows[columns], rtol=1e-5)
    return Compared(own, rows, ours)


def fond_of(model, token, factor):
    """Let a model say `token` often: its row of the head, grown by `factor`."""
    with torch.no_grad():
        model.get_output_embeddings().weight[token] *= factor
    return model


@pytest.mark.slow
@pytest.mark.parametrize("dataset", READERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_request_has_the_released_metrics(family, dataset):
    """All seven metrics, before and after a change of the weights, on the published records."""
    requests = records(dataset)
    texts = published_texts()[:10]
    tokenizer = tiny.tiny_tokenizer(bos=family == "llama")
    space = tokenizer.convert_tokens_to_ids("\u0120")
    model = EditableModel(fond_of(FAMILIES[family](dtype=torch.float64, layers=2), space, 5))
    found = compare(model, tokenizer, requests, texts)
    empty = sum(not text for text in found.own.values())
    print(f"{family}, {dataset}: {empty} of {len(found.own)} answers are empty", found.theirs.T)
    assert 0 < empty < len(found.own)
    assert (found.theirs["spec_acc"] < 1).all() and found.theirs["spec_acc"][0] > 0


def spaceless_tokenizer(requests):
    """Whole words: encode drops spaces, so a trailing one adds no token; " " can only be said."""
    texts = [r.text for r in requests] + [p for r in requests for p in r.paraphrases]
    texts += [f"{r.target_new} {r.target_true}" for r in requests]
    texts += [f"{n.text} {n.target}" for r in requests for n in r.neighbors]
    split = pre_tokenizers.Whitespace()
    words = {word for text in texts for word, _ in split.pre_tokenize_str(text)}
    vocabulary = [tiny.EOS, "<unk>", " ", *sorted(words)]
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=tiny.EOS, unk_token="<unk>", pad_token=tiny.EOS
    )


def test_an_answer_without_any_token_is_scored_as_released():
    """prompt + " " has no token more than the prompt: never the likelier one, and a change."""
    requests = tiny.tiny_requests()
    tokenizer = spaceless_tokenizer(requests)
    model = EditableModel(fond_of(tiny.tiny_llama(dtype=torch.float64), 2, 3))
    found = compare(model, tokenizer, requests, ["The river is in the city", "Lyon is in"])
    empty = [key for key, text in found.own.items() if not text]
    assert 0 < len(empty) < len(found.own)
    table = score(model, tokenizer, requests, CORRECTED, own=found.own).to_pandas()
    rows = table[table["object"] == "own"].set_index(["request", "index"]).loc[empty]
    assert (rows[["token_ids", "logprobs", "argmax", "ranks", "top"]].map(len) == 0).all(axis=None)
