"""Batches in sequence from file to file, as their rules run them: edits, what is kept, scores."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from modeledit.data.records import RequestError
from modeledit.data.requests import read_requests, write_requests
from modeledit.editing import iteration, key_cache
from modeledit.editing.job import of_batch
from modeledit.editing.key_cache import read_keys
from modeledit.editing.link import Batch, Link
from modeledit.editing.spread import NotFinite
from modeledit.editing.weight_norms import weight_norms
from modeledit.evaluation.schemas import EDITS, RAW_SCORES
from modeledit.io.files import StateError
from modeledit.io.matrices import (
    describe_matrices,
    read_matrices,
    write_matrices,
)
from modeledit.io.state import read_state
from modeledit.lm.model import EditableModel, load_model
from modeledit.study.methods import METHODS
from modeledit.study.settings import Stop
from scripts.edit import edit
from scripts.score_batch import After, score_batch
from scripts.score_batch import Inputs as Scored
from scripts.split_batches import split_batches
from tests.editing.tiny_edits import SWITCHES, compute_on, stop_after
from tests.editing.tiny_sequences import (
    ITERATIONS,
    KEPT,
    LAYERS,
    NULL_SPACE,
    SIZE,
    Chain,
    in_memory,
    prepare,
)
from tests.presets import CORRECTED
from tests.reference import models as tiny

ONE = stop_after(1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared"))


def reader(k: int) -> Link:
    """Iteration k of a run without batches."""
    switches = SWITCHES.editing()
    return Link(k, METHODS["AlphaEdit"], NULL_SPACE, switches, stop_after(3), compute_on())


@pytest.fixture(scope="module")
def done(prepared, tmp_path_factory) -> Chain:
    """Two batches of AlphaEdit, two iterations each."""
    return Chain(prepared, tmp_path_factory.mktemp("done")).run(2)


@pytest.fixture
def begun(prepared, tmp_path) -> Callable[..., Chain]:
    """Make a sequence of its own folder, with nothing done."""
    return lambda **how: Chain(prepared, tmp_path / "begun", **how)


def never(*_: object) -> None:
    """SPREAD that cannot write anything."""
    raise NotFinite("layer 1: the key is not finite", [1])


# ---- From file to file


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("AlphaEdit", "other_batches"),
        ("AlphaEdit", "released"),
        ("NA_AlphaEdit", "other_batches"),
        ("SPREAD_GROWING_AlphaEdit", "none"),
        ("MEMIT_seq", "other_batches"),
        ("MEMIT", "other_batches"),
    ],
)
def test_from_file_to_file_a_sequence_is_what_it_is_on_one_model(name, policy, prepared, begun):
    chain = begun(name=name, policy=policy).run(3)
    model, _ = load_model(prepared / "model")
    for (b, k), (weights, keys) in in_memory(prepared, name, policy, 3).items():
        tags = {"method": name, "batch": f"{b} of {SIZE}", "k": str(k)}
        files = chain.files(b, k)
        stored = read_matrices(files.edited, tags)
        assert stored.keys() == {model.down_name(i) for i in LAYERS}
        for layer, weight in weights.items():
            np.testing.assert_array_equal(stored[model.down_name(layer)], weight.numpy())
        # and the bytes are those that such matrices are written as
        metadata = describe_matrices(files.edited, tags).metadata
        plain = {n: v for n, v in metadata.items() if not n.startswith("sha256 ")}
        again = chain.folder / "again.safetensors"
        write_matrices(again, {model.down_name(i): w.numpy() for i, w in weights.items()}, plain)
        assert files.edited.read_bytes() == again.read_bytes()
        # keys of this iteration alone, and none of a method that forgets them
        cached = read_matrices(files.key_cache, tags)
        assert cached.keys() == {f"layer{i}" for i in keys}
        assert bool(keys) == (METHODS[name].keys_kept(policy) != "none")
        for layer, key in keys.items():
            assert key.shape[0] == SIZE
            np.testing.assert_array_equal(cached[f"layer{layer}"], key.numpy())
    for b in (1, 2, 3):
        last, kept = chain.files(b, ITERATIONS), chain.kept(b)
        for file in KEPT:
            assert getattr(kept, file).read_bytes() == getattr(last, file).read_bytes()


def test_a_sequence_that_goes_on_from_files_ends_with_the_same_bytes(done, begun):
    other = begun()
    other.edit(1, 1)
    other.edit(1, 2)
    other.keep(1)
    for path in (other.files(1, k).edited for k in (1, 2)):
        path.unlink()  # as the workflow does
    other.edit(2, 1)
    other.edit(2, 1)  # killed, and done again
    other.edit(2, 2)
    other.keep(2)
    for kind in ("state", "edited", "targets", "key_cache", "edits"):
        ours, theirs = (getattr(chain.files(2, 2), kind) for chain in (other, done))
        assert ours.read_bytes() == theirs.read_bytes(), kind


def test_batches_are_slices_of_the_trial_in_its_order(done):
    path = done.prepared / "requests.jsonl"
    every = read_requests(path)
    slices = [of_batch(every, Batch(number, 2), path) for number in (1, 2, 3)]
    assert [r.id for batch in slices for r in batch] == [r.id for r in every]
    for b in (1, 2):
        edits = EDITS.read(done.files(b, 1).edits)
        assert edits["request"].tolist() == [r.id for r in slices[b - 1]]
    with pytest.raises(RequestError, match=r"requests.jsonl: 6 requests, 4 batches of 2 ask for 8"):
        of_batch(every, Batch(4, 2), path)
    assert [r.id for r in of_batch(every, Batch(1, 6), path)] == [r.id for r in every]
    with pytest.raises(RequestError, match="take batches of 6 at most, or raise trials.size"):
        of_batch(every, Batch(2, 4), path)


def test_every_iteration_says_how_far_it_was_from_its_targets(done):
    for b in (1, 2):
        first, second = (EDITS.read(done.files(b, k).edits) for k in (1, 2))
        for edits in (first, second):
            assert (edits["residual_before"] > 0).all() and (edits["residual"] > 0).all()
        assert (first["residual"] < first["residual_before"]).all()
        assert second["residual_before"].tolist() != first["residual_before"].tolist()


# ---- What others left is refused


def test_what_another_run_batch_size_or_method_left_is_refused(done, begun, tmp_path):
    held = done.kept(1).edited
    link, inputs = done.link(2, 1), done.inputs(2, 1)
    edited = r"batch1/edited.safetensors: "
    refused = [
        (replace(link, batch=Batch(2, 3)), {}, edited + "batch is '1 of 2', this run needs '1 of"),
        (replace(link, batch=Batch(3, 2)), {}, edited + "batch is '1 of 2', this run needs '2 of"),
        (
            replace(link, method=METHODS["NA_AlphaEdit"]),
            {},
            edited + "method is 'AlphaEdit', this run needs 'NA_AlphaEdit'",
        ),
        (replace(link, hyper=replace(NULL_SPACE, l2=1.0)), {}, edited + "settings is"),
    ]
    others = tmp_path / "other.jsonl"
    write_requests(others, tiny.tiny_requests()[:6][::-1])
    refused.append((link, {"requests": others}, edited + "requests is"))
    first = done.files(2, 1).edited
    refused.append(
        (link, {"previous_edited": first}, "iter1/edited.safetensors: batch is '2 of 2'")
    )
    going_on = {"previous_edited": held, "previous": done.files(2, 1).state}
    refused.append((done.link(2, 2), going_on, edited + "batch is '1 of 2', this run needs '2 of"))
    for given, changed, message in refused:
        with pytest.raises(StateError, match=message):
            edit(given, replace(inputs, **changed), begun().files(2, 1))


def test_keys_of_another_run_are_refused(done, begun):
    alone = begun(name="MEMIT_seq").run(1)
    with pytest.raises(
        StateError,
        match="batch1/keys.safetensors: method is 'MEMIT_seq', this run needs 'AlphaEdit'",
    ):
        done.edit(2, 1, earlier_keys=(alone.kept(1).key_cache,))


@pytest.mark.parametrize("policy", ["other_batches", "released"])
def test_keys_of_other_places_than_those_before_are_refused(policy, prepared, tmp_path):
    """Of other sizes; of the iteration itself or later ones; twice; in another order."""
    chain = Chain(prepared, tmp_path / "right", policy=policy, stop=ONE).run(2)
    wide = Chain(prepared, tmp_path / "wide", policy=policy, size=3, stop=ONE).run(1)
    first, second = chain.inputs(3, 1).earlier_keys
    own, wider = chain.edit(3, 1).key_cache, wide.kept(1).key_cache
    left = chain.files(3, 1).key_cache.read_bytes()
    wanted = "wanted are those before batch 3, iteration 1, each once and in order; delete"
    for paths, message in {
        (wider,): f"{wider}: keys of a run with batches of 3, this one has batches of 2; delete",
        (second, first): f"{first}: keys of batch 1, iteration 1, {wanted}",
        (first, second, second): f"{second}: keys of batch 2, iteration 1, {wanted}",
        (first, own): f"{own}: keys of batch 3, iteration 1, {wanted}",
    }.items():
        with pytest.raises(StateError, match=re.escape(message)):
            chain.edit(3, 1, earlier_keys=paths)
    assert chain.files(3, 1).key_cache.read_bytes() == left
    with pytest.raises(
        StateError, match="keys of batch 2, iteration 1, wanted .* before batch 2, "
    ):
        chain.edit(2, 1, earlier_keys=(second,))


def test_a_run_without_batches_takes_keys_of_its_own_earlier_iterations_alone(tmp_path):
    def left(k, **batch):
        path = tmp_path / f"{k}{batch.get('batch', '')}.safetensors"
        key_cache.write_keys(path, {1: torch.full((2, 8), float(k))}, {"k": str(k)} | batch)
        return path

    first, second, third = (left(k) for k in (1, 2, 3))
    run = reader(3)
    found = read_keys([first, second], {}, (1,), 8, run)
    assert found[1][:, 0].tolist() == [1.0, 1.0, 2.0, 2.0]
    for paths in ([second, first], [first, first], [first, third]):
        with pytest.raises(StateError, match="wanted are those before batch 1, iteration 3, "):
            read_keys(paths, {}, (1,), 8, run)
    with pytest.raises(
        StateError, match="keys of a run with batches of 2, this one has no batches; delete"
    ):
        read_keys([left(1, batch="1 of 2")], {}, (1,), 8, run)


def test_keys_of_other_layers_or_widths_are_refused(tmp_path):
    path, after = tmp_path / "keys.safetensors", reader(2)
    key_cache.write_keys(path, {1: torch.ones(2, 8)}, {"base": "f00d", "k": "1"})
    for layers, width, message in [
        ((1, 2), 8, "keys.safetensors: keys of layer1, this run writes layers layer1, layer2"),
        ((1,), 9, r"layer1 has shape \[2, 8\], the model's keys have 9 entries"),
    ]:
        with pytest.raises(StateError, match=message):
            read_keys([path], {}, layers, width, after)
    assert read_keys([], {}, (1,), 8, after) == {}
    found = read_keys([path], {"base": "f00d"}, (1,), 8, after)
    assert found.keys() == {1} and found[1].tolist() == [[1.0] * 8] * 2


def test_every_earlier_file_is_read_once_and_in_order(prepared, begun, monkeypatch):
    """As released: those of all iterations of all batches before, and of this one so far."""
    chain, seen = begun(policy="released").run(2), []
    chain.edit(3, 1)
    whole = key_cache.read_any_matrices
    monkeypatch.setattr(
        key_cache,
        "read_any_matrices",
        lambda path, *given: seen.append(path) or whole(path, *given),
    )
    chain.edit(3, 2)
    places = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)]
    assert seen == [chain.files(*place).key_cache for place in places]
    read = tuple(seen)
    model, _ = load_model(prepared / "model")
    width = model.down_weight(LAYERS[0]).shape[1]
    keys = read_keys(read, {"method": "AlphaEdit"}, LAYERS, width, chain.link(3, 2))
    for layer in LAYERS:
        rows = [read_matrices(path, {})[f"layer{layer}"] for path in read]
        np.testing.assert_array_equal(keys[layer].numpy(), np.concatenate(rows))
    assert replace(chain, policy="none").inputs(3, 2).earlier_keys == ()
    assert replace(chain, policy="other_batches").inputs(3, 2).earlier_keys == tuple(
        chain.kept(b).key_cache for b in (1, 2)
    )


# ---- After a stop, after a collapse


def test_an_iteration_after_the_stop_leaves_neither_keys_nor_scores(begun):
    easy = Stop(mode="early", epsilon=1e9, iterations=1, extended=3)
    chain = begun(stop=easy, policy="released").run(2)
    for b in (1, 2):
        assert read_state(chain.files(b, 1).state).stopped
        for k in (2, 3):
            files, state = chain.files(b, k), read_state(chain.files(b, k).state)
            assert (state.k, state.held_by, state.passed_on) == (k, 1, True)
            assert not files.scores.exists()
            for path in (files.edited, files.targets, files.key_cache):
                assert read_matrices(path, {}) == {}
            assert EDITS.read(files.edits).empty
        for file in KEPT[1:]:
            first, kept = (getattr(f, file) for f in (chain.files(b, 1), chain.kept(b)))
            assert kept.read_bytes() == first.read_bytes()
        state = read_state(chain.kept(b).state)
        assert (state.held_by, state.stopped) == (1, True)
    assert not chain.files(1, 1).scores.exists()
    # The second batch sees the keys of the first once, and nothing of what came after the stop.
    earlier = chain.inputs(2, 1).earlier_keys
    assert earlier == tuple(chain.files(1, k).key_cache for k in (1, 2, 3))
    model, _ = load_model(chain.prepared / "model")
    width = model.down_weight(LAYERS[0]).shape[1]
    assert {
        len(keys) for keys in read_keys(earlier, {}, LAYERS, width, chain.link(2, 1)).values()
    } == {SIZE}


def test_a_batch_that_collapsed_keeps_the_keys_of_the_iteration_before(begun, monkeypatch):
    chain = begun()
    chain.edit(1, 1)
    monkeypatch.setattr(iteration, "spread", never)
    chain.edit(1, 2)
    first, second = (chain.files(1, k) for k in (1, 2))
    state = read_state(second.state)
    assert state.collapsed == "layer 1: the key is not finite (request 1)" and state.stopped
    assert read_matrices(second.key_cache, {"batch": "1 of 2", "k": "2"}) == {}
    edits = EDITS.read(second.edits)
    assert edits[["residual_before", "residual"]].isna().all(axis=None)
    ours, before = (read_matrices(f.edited, {}) for f in (second, first))
    for name, matrix in before.items():
        np.testing.assert_array_equal(ours[name], matrix)
    kept = chain.keep(1)
    assert kept.state.read_bytes() == second.state.read_bytes()
    assert kept.edited.read_bytes() == second.edited.read_bytes()
    assert kept.key_cache.read_bytes() == first.key_cache.read_bytes()


def test_a_batch_that_collapsed_at_once_leaves_the_weights_before_it_and_no_keys(
    begun, monkeypatch
):
    """Its further iterations pass that on, and the next batch goes on from the batch before."""
    chain = begun()
    chain.edit(1, 1)
    chain.edit(1, 2)
    chain.keep(1)
    with monkeypatch.context() as patch:
        patch.setattr(iteration, "spread", never)
        chain.edit(2, 1)
    chain.edit(2, 2)
    assert read_state(chain.files(2, 2).state).passed_on
    kept = chain.keep(2)
    assert read_state(kept.state).collapsed and read_state(kept.state).held_by == 1
    assert read_matrices(kept.key_cache, {"batch": "2 of 2"}) == {}
    ours, before = (read_matrices(chain.kept(b).edited, {}) for b in (2, 1))
    assert ours.keys() == before.keys()
    assert all(np.array_equal(ours[name], before[name]) for name in before)
    after = chain.edit(3, 1)
    state = read_state(after.state)
    assert state.collapsed is None and not state.passed_on and len(state.differences) == 1
    keys = read_matrices(after.key_cache, {"batch": "3 of 2", "k": "1"})
    assert keys.keys() == {f"layer{i}" for i in LAYERS}


# ---- Which request is in which batch, scores, norms


def test_each_request_is_in_its_batch(prepared, tmp_path):
    path = prepared / "requests.jsonl"
    ids = [request.id for request in read_requests(path)]
    split_batches(path, 2, 2, tmp_path / "batches.csv")
    found = pd.read_csv(tmp_path / "batches.csv")
    assert list(found.columns) == ["request", "batch"]
    assert found["request"].tolist() == ids[:4] and found["batch"].tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("size", "count", "out"),
    [
        (2, 4, "4 batches of 2 ask for 8; take 3 batches of 2, or raise trials.size"),
        (4, 2, "2 batches of 4 ask for 8; take batches of 6 at most, or raise trials.size"),
        (7, 1, "1 batches of 7 ask for 7; take batches of 6 at most, or raise trials.size"),
    ],
)
def test_too_few_requests_are_refused_with_the_way_out(prepared, tmp_path, size, count, out):
    with pytest.raises(RequestError, match=f"requests.jsonl: 6 requests, {out}"):
        split_batches(prepared / "requests.jsonl", size, count, tmp_path / "batches.csv")
    assert not (tmp_path / "batches.csv").exists()


def scored(chain: Chain, batch: int, folder: Path, **other: Any) -> tuple[Path, Path]:
    """Scores and norms after a batch, from `other` inputs instead of its own."""
    prepared = chain.prepared
    own = Scored(
        prepared / "requests.jsonl",
        prepared / "texts.jsonl",
        prepared / "model",
        chain.kept(batch).edited,
    )
    paths = folder / "scores.parquet", folder / "norms.csv"
    given = replace(own, **other), After(chain.name, batch, chain.size)
    score_batch(*given, CORRECTED, 400, "cpu", *paths)
    return paths


def test_everything_edited_so_far_is_scored_and_nothing_else(done, tmp_path):
    ids = [request.id for request in read_requests(done.prepared / "requests.jsonl")]
    for batch in (1, 2):
        scores, norms = scored(done, batch, tmp_path)
        found = RAW_SCORES.read(scores)
        asked = found[found["kind"] != "text"]
        assert asked["request"].drop_duplicates().tolist() == ids[: batch * SIZE]
        assert {"edit", "paraphrase", "neighbor"} <= set(asked["kind"])
        assert (found["kind"] == "text").any()
        model, _ = load_model(done.prepared / "model")
        stored = read_matrices(done.kept(batch).edited, {})
        expected = weight_norms(model, stored)
        pd.testing.assert_frame_equal(pd.read_csv(norms), expected.reset_index(drop=True))


def test_scores_are_those_of_the_weights_after_the_batch(done, tmp_path):
    """The new object of an edit is likelier than before; the first batch's scores change too."""
    first, second = (RAW_SCORES.read(scored(done, b, tmp_path)[0]) for b in (1, 2))

    def edits(frame, ids):
        own = frame[(frame["kind"] == "edit") & (frame["object"] == "new")]
        return own.set_index("request")["logprobs"].loc[ids].map(sum)

    ids = first["request"][first["kind"] == "edit"].unique()
    assert (edits(first, ids) != edits(second, ids)).all()


def test_scores_of_matrices_of_another_batch_size_trial_or_method_are_refused(
    done, begun, tmp_path
):
    with pytest.raises(
        StateError, match="edited.safetensors: batch is '1 of 2', this run needs '2"
    ):
        scored(done, 2, tmp_path, edited=done.kept(1).edited)
    with pytest.raises(StateError, match="batch is '2 of 2', this run needs '2 of 3'"):
        scored(replace(done, size=3), 2, tmp_path)
    with pytest.raises(StateError, match="method is 'AlphaEdit', this run needs 'MEMIT_seq'"):
        scored(replace(done, name="MEMIT_seq"), 2, tmp_path)
    others = tmp_path / "other.jsonl"
    write_requests(others, tiny.tiny_requests()[:6][::-1])
    with pytest.raises(StateError, match="edited.safetensors: requests is"):
        scored(done, 2, tmp_path, requests=others)
    assert not (tmp_path / "scores.parquet").exists() and not (tmp_path / "norms.csv").exists()


def test_norms_by_hand():
    model = EditableModel(tiny.tiny_gpt2())
    shape = model.down_weight(1).shape
    for layer, value in ((1, 3.0), (2, 1.0)):
        model.write_down_weight(layer, torch.full(shape, value))
    edited = {
        model.down_name(2): np.full(shape, 1.5, np.float32),
        model.down_name(1): np.full(shape, 3.0, np.float32),
    }
    edited[model.down_name(1)][0, 0] = 7.0
    found = weight_norms(model, edited)
    n = float(shape.numel())
    assert list(found.columns) == ["layer", "norm", "change"] and found["layer"].tolist() == [1, 2]
    assert found["norm"].tolist() == pytest.approx([(9 * n - 9 + 49) ** 0.5, 1.5 * n**0.5])
    assert found["change"].tolist() == pytest.approx([4 / (3 * n**0.5), 0.5])
    before = {model.down_name(1): model.down_weight(1).numpy()}
    assert weight_norms(model, before)["change"].tolist() == [0.0]
