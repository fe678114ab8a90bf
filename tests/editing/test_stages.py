"""Iterating one stage alone: against the plain loop, from files, and beside the plain method."""

import shutil
from copy import deepcopy
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch

from modeledit.data.requests import read_requests, write_requests
from modeledit.editing.covariance import second_moments
from modeledit.editing.factors import factorize
from modeledit.editing.iteration import Statistics, edit_once
from modeledit.editing.job import Inputs, Link, extend_chain
from modeledit.editing.stages import stored_targets, targets_before
from modeledit.io.files import StateError, write_json
from modeledit.io.matrices import read_matrices, write_matrices
from modeledit.lm.model import EditableModel, load_model
from modeledit.study.layout import IterationFiles
from modeledit.study.methods import METHODS
from tests.editing.test_engine import MODELS, plain_settings, tolerance_of
from tests.editing.tiny_edits import (
    SWITCHES,
    Silent,
    compute_on,
    settings_of,
    stop_after,
    write_record,
)
from tests.reference import models as tiny
from tests.reference import plain

HYPER = replace(
    tiny.HYPER,
    lr=0.7,
    steps=6,
    clamp=3.0,
    weight_decay=0.01,
    kl_factor=0.3,  # so large that P_0 of anything but the model itself would show
)
ALONE = sorted(
    name
    for name, method in METHODS.items()
    if method.repeats != "both" and method.key_cache == "none" and method.protects == "covariance"
)
CONTEXTS = tiny.tiny_contexts()
IDENTITY = {"base": "f00d"}


def tiny_problem(family="gpt2", dtype=torch.float64):
    """Four requests, a tiny model, and covariances with their factors."""
    model = MODELS[family](dtype=dtype)
    tokenizer, requests = tiny.tiny_tokenizer(), tiny.tiny_requests()[:4]
    texts = [r.text for r in requests] + CONTEXTS
    moments, _ = second_moments(EditableModel(model), tokenizer, texts, HYPER.layers, 64)
    moments = {layer: c + 0.1 * torch.eye(len(c)) for layer, c in moments.items()}
    factors = {layer: factorize(c, layer).lower for layer, c in moments.items()}
    return model, tokenizer, requests, moments, factors


def edit(model, tokenizer, requests, factors, name, before=None):
    """One iteration of the engine, on `model` in place."""
    return edit_once(
        model, tokenizer, requests, Statistics(CONTEXTS, factors), settings_of(name, HYPER),
        Silent(), before,
    )  # fmt: skip


def through_files(folder, targets, edits, name, requests):
    """What the next iteration reads of the one before."""
    arrays = stored_targets(targets, METHODS[name].repeats)
    paths = folder / "targets.safetensors", folder / "edits.parquet"
    write_matrices(paths[0], {key: a.numpy() for key, a in arrays.items()}, IDENTITY)
    edits.to_parquet(paths[1], index=False)
    return targets_before(*paths, IDENTITY, requests)


@cache
def first_targets(family, algorithm):
    """What the plain loop finds for each request on the unedited model."""
    model, tokenizer, requests, *_ = tiny_problem(family)
    settings = plain_settings(METHODS[algorithm], SWITCHES, HYPER)
    return [plain.optimize(model, tokenizer, r, CONTEXTS, settings) for r in requests]


def plain_iterations(family, name):
    """Per k: (model after it, what was found for each request, p-hat of each), one by one."""
    unedited, tokenizer, requests, moments, _ = tiny_problem(family)
    settings = plain_settings(METHODS[name], SWITCHES, HYPER)
    model, found = deepcopy(unedited), first_targets(family, METHODS[name].algorithm)
    for k in (1, 2, 3):
        if k > 1 and METHODS[name].repeats == "optimization":
            model = deepcopy(unedited)
            found = [
                plain.optimize(unedited, tokenizer, r, CONTEXTS, settings, start=before.deltas)
                for r, before in zip(requests, found, strict=True)
            ]
        targets = [f.target for f in found]
        plain.spread(model, tokenizer, requests, targets, CONTEXTS, moments, settings)
        p_hat = [plain.p_hat(model, tokenizer, r, CONTEXTS, settings) for r in requests]
        yield model, found, p_hat


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("family", sorted(MODELS))
def test_one_stage_alone_equals_the_plain_loop(family, name, tmp_path):
    unedited, tokenizer, requests, _, factors = tiny_problem(family)
    model, before = EditableModel(deepcopy(unedited)), None
    tolerance = 10 * tolerance_of(unedited)
    slow = plain_iterations(family, name)
    p_bar, p_hat_before = [], None
    for k, (slow_model, found, p_hat) in enumerate(slow, start=1):
        if METHODS[name].repeats == "optimization":
            model = EditableModel(deepcopy(unedited))
        targets, edits, _keys = edit(model, tokenizer, requests, factors, name, before)
        before = through_files(tmp_path, targets, edits, name, requests)
        close = {"rel": tolerance, "abs": tolerance}
        for i, one in enumerate(found):
            assert (targets.state[i] - one.target).norm() / one.target.norm() < tolerance
            assert edits["p_bar"][i] == pytest.approx(one.p_bar, **close)
            assert edits["loss"][i] == pytest.approx(one.loss, **close)
            assert edits["kl"][i] == pytest.approx(HYPER.kl_factor * one.kl, **close)
            assert edits["weight_decay"][i] == pytest.approx(one.weight_decay, **close)
        assert edits["p_hat"].tolist() == pytest.approx(p_hat, **close)
        for layer in range(model.depth):
            expected = plain.weight_out_in(plain.locate(slow_model).down[layer])
            assert (model.down_weight(layer) - expected).norm() / expected.norm() < tolerance
        if k > 1 and METHODS[name].repeats == "spread":
            assert set(edits["stop_reason"]) == {"kept"} and not edits["steps"].any()
            assert edits["p_init"].tolist() == p_hat_before
        else:
            assert edits["steps"].tolist() == [one.steps for one in found]
            assert edits["stop_reason"].tolist() == [one.stop_reason for one in found]
            expected = [one.p_init for one in found]
            assert edits["p_init"].tolist() == pytest.approx(expected, **close)
        p_bar.append(edits["p_bar"].mean())
        p_hat_before = edits["p_hat"].tolist()
    if METHODS[name].repeats == "spread":
        assert p_bar[0] == p_bar[1] == p_bar[2]
    else:
        assert p_bar[0] > p_bar[1] > p_bar[2]


def test_a_target_that_is_good_enough_makes_one_step_and_stays():
    model, tokenizer, requests, _, factors = tiny_problem()
    name = "OPTIMIZATION_MEMIT"
    easy = replace(HYPER, lr=1.0, steps=25, clamp=9.0, weight_decay=0.0, kl_factor=0.0)
    logs, before = [], None
    for _ in range(2):
        before, edits, _keys = edit_once(
            EditableModel(deepcopy(model)), tokenizer, requests, Statistics(CONTEXTS, factors),
            settings_of(name, easy), Silent(), before,
        )  # fmt: skip
        logs.append((before, edits))
    (first, one), (second, two) = logs
    done = np.flatnonzero(one["stop_reason"] == "loss")
    assert len(done)
    assert (two["steps"][done] == 1).all() and (two["stop_reason"][done] == "loss").all()
    torch.testing.assert_close(second.state[done], first.state[done], rtol=0, atol=0)


@pytest.mark.parametrize("algorithm", ["MEMIT", "PMET"])
def test_the_first_iteration_is_that_of_the_plain_method_to_the_bit(algorithm):
    unedited, tokenizer, requests, _, factors = tiny_problem(dtype=torch.float32)
    seen = []
    for name in (algorithm, f"SPREAD_{algorithm}", f"OPTIMIZATION_{algorithm}"):
        model = EditableModel(deepcopy(unedited))
        targets, edits, _keys = edit(model, tokenizer, requests, factors, name)
        seen.append((targets.state, edits, [model.down_weight(i) for i in range(model.depth)]))
    for state, edits, weights in seen[1:]:
        assert torch.equal(state, seen[0][0])
        pd.testing.assert_frame_equal(edits, seen[0][1], check_exact=True)
        assert all(map(torch.equal, weights, seen[0][2]))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The input files of `extend_chain`, for a tiny model."""
    folder = tmp_path_factory.mktemp("prepared")
    model, tokenizer, requests, _, factors = tiny_problem(dtype=torch.float32)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    write_record(folder / "model", "f00d")
    write_requests(folder / "requests.jsonl", requests)
    (folder / "texts.jsonl").write_text('"The river is long."\n')
    write_json(folder / "contexts.json", {"templates": {"10x1": CONTEXTS}})
    matrices = {f"layer{layer}": np.asarray(factor) for layer, factor in factors.items()}
    write_matrices(folder / "factors.safetensors", matrices, {"base": "f00d"})
    return folder


def link(prepared, folder, name, k):
    """Iteration k of a run in `folder`, as its rule runs it."""
    inputs = Inputs(
        prepared / "requests.jsonl",
        prepared / "texts.jsonl",
        prepared / "model",
        prepared / "contexts.json",
        prepared / "factors.safetensors",
    )
    if k > 1:
        held = IterationFiles.of(folder, k - 1)
        inputs = replace(
            inputs, previous=held.state, previous_targets=held.targets, previous_edits=held.edits
        )
    outputs = IterationFiles.of(folder, k)
    chain = Link(k, METHODS[name], HYPER, SWITCHES.editing(), stop_after(3), compute_on())
    extend_chain(chain, inputs, outputs)
    return outputs


@pytest.mark.parametrize("name", ALONE)
def test_a_run_that_goes_on_from_files_ends_with_the_same_bytes(name, prepared, tmp_path):
    whole = [link(prepared, tmp_path / "whole", name, k) for k in (1, 2, 3)]
    shutil.copytree(tmp_path / "whole/iter1", tmp_path / "again/iter1")
    if METHODS[name].repeats == "optimization":  # what SPREAD wrote before is of no use to it
        (tmp_path / "again/iter1/edited.safetensors").unlink()
    again = [link(prepared, tmp_path / "again", name, k) for k in (2, 3)]
    for files, expected in zip(again, whole[1:], strict=True):
        for kind in vars(files).keys() - {"hardware"}:
            assert getattr(files, kind).read_bytes() == getattr(expected, kind).read_bytes(), kind

    # and in one go, without files between the iterations
    requests = read_requests(prepared / "requests.jsonl")
    factors = tiny_problem(dtype=torch.float32)[-1]
    model, tokenizer = load_model(prepared / "model")
    before = None
    for files in whole:
        if METHODS[name].repeats == "optimization":
            model, _ = load_model(prepared / "model")
        targets, edits, _keys = edit(model, tokenizer, requests, factors, name, before)
        before = targets if before is None or METHODS[name].repeats == "optimization" else before
        stored = read_matrices(files.targets, {"method": name})
        np.testing.assert_array_equal(stored["targets"], targets.state.numpy())
        for key, matrix in read_matrices(files.edited, {"method": name}).items():
            layer = next(i for i in range(model.depth) if model.down_name(i) == key)
            np.testing.assert_array_equal(matrix, model.down_weight(layer).numpy())
        assert pd.read_parquet(files.edits)["p_hat"].tolist() == edits["p_hat"].tolist()


def test_targets_of_another_run_are_refused(tmp_path):
    model, tokenizer, requests, _, factors = tiny_problem()
    targets, edits, _keys = edit(EditableModel(model), tokenizer, requests, factors, "SPREAD_MEMIT")
    through_files(tmp_path, targets, edits, "SPREAD_MEMIT", requests)
    paths = tmp_path / "targets.safetensors", tmp_path / "edits.parquet"
    with pytest.raises(StateError, match="base is 'f00d', this run needs 'beef'"):
        targets_before(*paths, {"base": "beef"}, requests)
    first, last, n = requests[0].id, requests[-1].id, len(requests)
    told = f"edit 1 of {n} is of request {first}, this run's 1 of {n} is {last}; delete"
    with pytest.raises(StateError, match=f"edits.parquet: {told}"):
        targets_before(*paths, IDENTITY, requests[::-1])
    told = f"edit {n} of {n} is of request {last}, this run's {n} of {n - 1} is None; delete"
    with pytest.raises(StateError, match=told):
        targets_before(*paths, IDENTITY, requests[:-1])
