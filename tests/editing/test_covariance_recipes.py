"""Covariances as their recipes say: from the excerpt, from a dump, few tokens, or published."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from modeledit.data.wikipedia import read_sample, sample_articles
from modeledit.editing import covariance_files
from modeledit.editing.covariance import second_moments
from modeledit.editing.covariance_files import Partial, covariance_of, published_covariance
from modeledit.editing.factors import CovarianceError
from modeledit.io.files import write_texts
from modeledit.lm.model import EditableModel
from tests.reference.models import tiny_contexts, tiny_gpt2, tiny_tokenizer

LAYERS = (1, 3)
RECIPE = {"source": "embedded", "articles": "12", "max_length": "8", "seed": "3", "base": "abc"}


@pytest.fixture(scope="module")
def model():
    return EditableModel(tiny_gpt2())


@pytest.fixture(scope="module")
def texts():
    words = " ".join(tiny_contexts()).replace("{}", "Lyon").split()
    return [" ".join(words[i : i + 5 + i % 7]) for i in range(20)]


@pytest.fixture
def shards(texts, tmp_path):
    paths = [tmp_path / f"part{i}.parquet" for i in (0, 1)]
    for path, part in zip(paths, (texts[:8], texts[8:]), strict=True):
        pq.write_table(pa.table({"text": part}), path)
    return paths


def made(model, paths, recipe, tmp_path):
    partial = tmp_path / "partial.safetensors"
    return covariance_of(model, tiny_tokenizer(), paths, LAYERS, recipe, Partial(partial, 100))


def assert_moments(found, model, texts, max_length):
    expected, tokens = second_moments(model, tiny_tokenizer(), texts, LAYERS, max_length)
    matrices, said = found
    assert list(matrices) == ["layer1", "layer3"] and said["tokens"] == str(tokens)
    for layer in LAYERS:
        assert torch.equal(torch.from_numpy(matrices[f"layer{layer}"]), expected[layer])


def test_the_excerpts_articles_are_all_taken(model, texts, tmp_path):
    path = tmp_path / "covariance.jsonl"
    write_texts(path, texts)
    found = made(model, [path], RECIPE, tmp_path)
    assert_moments(found, model, texts, 8)
    assert found[1] == RECIPE | {"tokens": found[1]["tokens"]}


def test_the_models_context_is_the_longest_text(model, texts, tmp_path):
    path = tmp_path / "covariance.jsonl"
    write_texts(path, texts)
    context = model.model.config.max_position_embeddings
    assert max(len(tiny_tokenizer().encode(text)) for text in texts) > 8
    assert_moments(
        made(model, [path], RECIPE | {"max_length": "context"}, tmp_path), model, texts, context
    )


def test_articles_of_a_dump_are_drawn_by_the_recipes_seed(model, shards, tmp_path):
    drawn = list(read_sample(shards, sample_articles(shards, 12, 3)))
    assert_moments(made(model, shards, RECIPE | {"source": "recompute"}, tmp_path), model, drawn, 8)


def test_a_fast_covariance_has_tokens_for_each_row_of_the_key(
    model, shards, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(covariance_files, "FAST_TOKENS", 1)
    recipe = RECIPE | {"source": "fast", "articles": "few", "max_length": "32"}
    _, said = made(model, shards, recipe, tmp_path)
    assert int(said["tokens"]) == model.down_weight(1).shape[1]
    assert "a rough covariance" in caplog.text


def published(path, tokens, value=1.0):
    np.savez(path, **{"mom2.mom2": value * tokens * np.eye(4), "mom2.count": tokens})
    return path


def test_published_covariances_are_named_by_their_layers(tmp_path):
    files = {i: published(tmp_path / f"{i}.npz", 10, float(i)) for i in (7, 2)}
    matrices, said = published_covariance(files, 4, {"source": "authors"})
    assert said == {"source": "authors", "tokens": "10"}
    assert {name: matrix[0, 0] for name, matrix in matrices.items()} == {"layer7": 7, "layer2": 2}


def test_published_covariances_of_different_tokens_name_both_files(tmp_path):
    files = {2: published(tmp_path / "a.npz", 10), 3: published(tmp_path / "b.npz", 20)}
    with pytest.raises(CovarianceError, match=r"10 \(.*a\.npz\), 20 \(.*b\.npz\); fetch them"):
        published_covariance(files, 4, {})
