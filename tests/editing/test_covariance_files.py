"""Covariances that were published, and covariances over many articles with a way back."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeledit.data.wikipedia import read_sample, sample_articles
from modeledit.editing.covariance import KeySums, second_moments
from modeledit.editing.covariance_files import (
    Partial,
    Reading,
    covariance_of,
    gather,
    gathered_already,
    read_published,
)
from modeledit.editing.factors import CovarianceError
from modeledit.io.files import StateError, write_texts
from modeledit.io.matrices import read_matrices, write_matrices
from modeledit.io.seals import seal
from modeledit.lm.model import EditableModel, ModelError
from modeledit.lm.tokens import encode
from tests.reference.models import tiny_contexts, tiny_gpt2, tiny_tokenizer

LAYERS = [1, 3]
RECIPE = {"source": "recompute", "dump": "small", "articles": "20", "layers": "1 3", "base": "abc"}


@pytest.fixture(scope="module")
def model():
    return EditableModel(tiny_gpt2())


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def texts():
    words = " ".join(tiny_contexts()).replace("{}", "Lyon").split()
    return [" ".join(words[i : i + 5 + i % 7]) for i in range(20)]


# Many articles


def sums_of(model, tokenizer, texts, partial, recipe=RECIPE, every=3, most=None):
    return gather(
        model,
        tokenizer,
        lambda n: texts[n:],
        Reading(LAYERS, 8, most, len(texts)),
        recipe,
        Partial(partial, every),
    )


def test_they_are_the_second_moments(model, tokenizer, texts, tmp_path):
    expected, tokens = second_moments(model, tokenizer, texts, LAYERS, 8)
    sums = sums_of(model, tokenizer, texts, tmp_path / "partial.safetensors")
    assert (sums.texts, sums.tokens) == (len(texts), tokens)
    for layer, moments in sums.moments().items():
        assert torch.equal(moments, expected[layer])


class Killed(Exception):
    pass


@pytest.mark.parametrize(("killed_after", "start"), [(2, 0), (3, 3), (7, 6), (12, 12)])
def test_a_killed_run_goes_on_to_the_same_bytes(
    model, tokenizer, texts, tmp_path, killed_after, start
):
    read = []

    def until_killed(n):
        for i, text in enumerate(texts[n:], start=n):
            read.append(i)
            if len(read) > killed_after:
                raise Killed
            yield text

    partial = tmp_path / "partial.safetensors"
    with pytest.raises(Killed):
        gather(model, tokenizer, until_killed, Reading(LAYERS, 8), RECIPE, Partial(partial, 3))
    assert partial.exists() == (start > 0)
    read.clear()
    killed_after = len(texts)
    resumed = gather(
        model, tokenizer, until_killed, Reading(LAYERS, 8), RECIPE, Partial(partial, 3)
    )
    assert read == list(range(start, len(texts)))
    whole = sums_of(model, tokenizer, texts, tmp_path / "other.safetensors")
    assert (resumed.texts, resumed.tokens) == (whole.texts, whole.tokens)
    for layer, moments in resumed.moments().items():
        assert moments.numpy().tobytes() == whole.moments()[layer].numpy().tobytes()


@pytest.mark.parametrize("field", RECIPE)
def test_partial_sums_of_another_recipe_are_refused(model, tokenizer, texts, tmp_path, field):
    partial = tmp_path / "partial.safetensors"
    sums_of(model, tokenizer, texts, partial)
    assert partial.exists()
    said = f"{field} is '{RECIPE[field]}', this run needs 'other'; delete the file"
    with pytest.raises(StateError, match=said):
        sums_of(model, tokenizer, texts, partial, RECIPE | {field: "other"})


@pytest.mark.parametrize("most", [1, 8, 9, 50])
def test_enough_tokens_are_exactly_enough(model, tokenizer, texts, tmp_path, most):
    sums = sums_of(model, tokenizer, texts, tmp_path / "partial.safetensors", most=most)
    assert sums.tokens == most
    rows = [encode(tokenizer, text)[:8] for text in texts]
    short = []
    for row in rows:
        if left := most - sum(map(len, short)):
            short.append(row[:left])
    alone = KeySums(LAYERS)
    for row in short:
        alone._add(model, row)
    for layer, moments in sums.moments().items():
        assert torch.equal(moments, alone.moments()[layer])


def test_too_few_tokens_are_said(model, tokenizer, texts, tmp_path):
    with pytest.raises(CovarianceError, match="20 texts have .* tokens, 100000 are needed"):
        sums_of(model, tokenizer, texts, tmp_path / "partial.safetensors", most=100_000)


# A dump in parquet files

SHARDS = [7, 1, 12]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    paths = []
    for i, rows in enumerate(SHARDS):
        paths.append(tmp_path_factory.mktemp("dump") / f"train-{i}.parquet")
        table = pa.table({"id": range(rows), "text": [f"shard {i} row {j}" for j in range(rows)]})
        pq.write_table(table, paths[-1], row_group_size=5)
    return paths


@given(st.integers(1, sum(SHARDS)), st.integers(0, 100))
def test_a_sample_is_of_distinct_articles_in_order(shards, count, seed):
    places = sample_articles(shards, count, seed)
    assert len(set(places)) == count
    assert places == sorted(places) == sample_articles(shards, count, seed)
    assert list(read_sample(shards, places)) == [f"shard {i} row {j}" for i, j in places]


def test_a_reader_who_may_stop_early_gets_the_sample_shuffled(shards):
    in_order = sample_articles(shards, 15, 3)
    shuffled = sample_articles(shards, 15, 3, shuffled=True)
    assert sorted(shuffled) == in_order != shuffled


def test_every_article_has_the_same_chance(shards):
    drawn = {place: 0 for place in sample_articles(shards, sum(SHARDS), 0)}
    for seed in range(2000):
        for place in sample_articles(shards, 5, seed):
            drawn[place] += 1
    assert len(drawn) == sum(SHARDS)
    assert all(abs(n / 2000 - 5 / sum(SHARDS)) < 0.05 for n in drawn.values())


def test_without_a_count_all_come_shuffled(shards):
    places = sample_articles(shards, None, 3)
    assert sorted(places) == sample_articles(shards, sum(SHARDS), 3) != places
    assert sorted(read_sample(shards, places)) == sorted(
        f"shard {i} row {j}" for i, n in enumerate(SHARDS) for j in range(n)
    )


def test_a_dump_that_will_not_do_is_named(shards, tmp_path):
    with pytest.raises(ValueError, match="asked for 21 articles, but 3 shards hold only 20"):
        sample_articles(shards, 21, 0)
    (tmp_path / "broken.parquet").write_bytes(os.urandom(100))
    with pytest.raises(ValueError, match="broken.parquet: not a parquet file"):
        sample_articles([tmp_path / "broken.parquet"], 1, 0)
    pq.write_table(pa.table({"title": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="no column 'text', only title"):
        sample_articles([tmp_path / "other.parquet"], 1, 0)


# Published covariances


def published(path, total=None, **members):
    """A file as the authors' release has it."""
    keys = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    total = keys.T @ keys if total is None else total
    right = {"mom2.mom2": total, "mom2.count": np.array(40), "mom2.constructor": np.array("x")}
    np.savez(path, **(right | members))
    return keys.T @ keys / 40


def test_a_published_covariance_is_its_mean(tmp_path):
    expected = published(tmp_path / "right.npz", sample_size=np.array(None))  # never unpickled
    covariance, tokens = read_published(tmp_path / "right.npz", 6)
    assert tokens == 40 and covariance.dtype == np.float32
    np.testing.assert_allclose(covariance, expected, rtol=1e-6)
    write_matrices(tmp_path / "made", {"layer3": covariance}, {"source": "authors"})
    read = read_matrices(tmp_path / "made", {"source": "authors"})["layer3"]
    np.testing.assert_array_equal(read, covariance)


BAD = {
    "shape": ({"total": np.eye(5, dtype=np.float32)}, r"shape \(5, 5\), .* need \(6, 6\)"),
    "values": ({"total": np.diag([1, 1, 1, 1, 1, np.nan])}, "no second moment has"),
    "negative": ({"total": -np.eye(6)}, "no second moment has"),
    "no tokens": (
        {"mom2.count": np.array(0)},
        "tokens is 0, expected one from 1 on: .* made a mean",
    ),
    "nan tokens": ({"mom2.count": np.array(np.nan)}, "tokens is nan, .* fetch the file again"),
    "endless tokens": ({"mom2.count": np.array(np.inf)}, "tokens is inf, expected one"),
    "two counts": ({"mom2.count": np.array([40, 40])}, r"tokens is \[40 40\], expected one"),
    "words": ({"mom2.count": np.array("forty")}, "tokens is forty, expected one"),
    "objects": ({"mom2.mom2": np.array([None])}, "mom2.mom2 is no array of numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_published_file_that_will_not_do_is_named(tmp_path, case):
    members, said = BAD[case]
    published(tmp_path / "bad.npz", **members)
    with pytest.raises(CovarianceError, match=f"bad.npz: .*{said}"):
        read_published(tmp_path / "bad.npz", 6)


def test_what_is_no_published_covariance_is_named(tmp_path):
    np.savez(tmp_path / "bad.npz", mean=np.eye(6))
    with pytest.raises(CovarianceError, match="bad.npz: no mom2.mom2 in it, only mean"):
        read_published(tmp_path / "bad.npz", 6)
    np.savez(tmp_path / "bad.npz", **{"mom2.mom2": np.eye(6)})
    with pytest.raises(CovarianceError, match="no mom2.count in it, only mom2.mom2; fetch the"):
        read_published(tmp_path / "bad.npz", 6)
    for body in (b"", b"PK\x03\x04 cut off", os.urandom(500)):
        (tmp_path / "bad.npz").write_bytes(body)
        with pytest.raises(CovarianceError, match="bad.npz: not an npz file"):
            read_published(tmp_path / "bad.npz", 6)
    np.save(tmp_path / "bad.npy", np.eye(6))
    (tmp_path / "bad.npy").rename(tmp_path / "bad.npz")
    with pytest.raises(CovarianceError, match="bad.npz: not an npz file"):
        read_published(tmp_path / "bad.npz", 6)


@pytest.mark.parametrize(
    ("length", "asked"), [("256", None), ("context", None), ("257", "at most")]
)
def test_more_tokens_than_the_model_sees_are_refused(model, tokenizer, tmp_path, length, asked):
    path = tmp_path / "texts.json"
    write_texts(path, ["word " * 300])
    recipe = {**RECIPE, "source": "embedded", "max_length": length}
    how = (model, tokenizer, [path], LAYERS, recipe, Partial(tmp_path / "partial.safetensors", 3))
    if asked:
        with pytest.raises(ModelError, match="covariance_length = 257: .*allowed: at most 256"):
            covariance_of(*how)
    else:
        _, metadata = covariance_of(*how)
        assert metadata["tokens"] == "256"


# What another study gathered


def written(path, layers=(1, 3), **recipe):
    path.parent.mkdir(parents=True, exist_ok=True)
    matrices = {f"layer{i}": np.full((2, 2), float(i)) for i in layers}
    said = RECIPE | {"layers": " ".join(map(str, layers)), "tokens": "160"} | recipe
    write_matrices(path, matrices, said)
    return path


def test_a_covariance_by_the_same_recipe_is_taken(tmp_path):
    other = written(tmp_path / "other", dump="large")
    broken = tmp_path / "broken"
    broken.write_bytes(b"no matrices")
    same = written(tmp_path / "same")
    path, matrices, said = gathered_already([other, broken, same], LAYERS, RECIPE)
    assert path == same and matrices.keys() == {"layer1", "layer3"}
    copy = tmp_path / "copy"
    write_matrices(copy, matrices, said)
    assert copy.read_bytes() == same.read_bytes()
    assert gathered_already([other, broken], LAYERS, RECIPE) is None


def test_of_more_layers_those_that_are_needed_are_taken(tmp_path):
    more = written(tmp_path / "more", layers=(1, 2, 3))
    _, matrices, said = gathered_already([more], LAYERS, RECIPE)
    assert matrices.keys() == {"layer1", "layer3"} and said == RECIPE | {"tokens": "160"}
    assert gathered_already([more], [1, 4], RECIPE | {"layers": "1 4"}) is None
    # A tolerance looks at all layers, so that the texts may be others.
    careful = written(tmp_path / "careful", layers=(1, 2, 3), tolerance="0.1")
    assert gathered_already([careful], LAYERS, RECIPE | {"tolerance": "0.1"}) is None


def test_one_that_was_changed_since_is_passed_over(tmp_path):
    path = written(tmp_path / "covariance.safetensors")
    seal(path)
    assert gathered_already([path], LAYERS, RECIPE)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert gathered_already([path], LAYERS, RECIPE) is None
