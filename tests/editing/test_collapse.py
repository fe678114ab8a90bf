"""Targets and updates that are not finite: named, never written, and the end of their run."""

import json
import math
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from modeledit.data.requests import write_requests
from modeledit.editing.factors import factorize
from modeledit.editing.iteration import Statistics, edit_once
from modeledit.editing.job import Inputs, Link, extend_chain, load_edited
from modeledit.editing.spread import NotFinite, new_weight, spread
from modeledit.editing.state import pass_on
from modeledit.io.files import write_json
from modeledit.io.matrices import write_matrices
from modeledit.io.state import read_state
from modeledit.lm.model import EditableModel
from modeledit.lm.scoring import score
from modeledit.lm.tokens import subject_row
from modeledit.study.layout import IterationFiles, RunKey
from modeledit.study.methods import METHODS
from tests.editing.tiny_edits import (
    Silent,
    compute_on,
    covariance_write,
    settings_of,
    stop_after,
    write_record,
)
from tests.presets import CORRECTED, CORRECTED_SCORING
from tests.reference import models as tiny
from tests.tables import run_metrics

ROOT = Path(__file__).parents[2]
HYPER = tiny.HYPER
TOKENIZER = tiny.tiny_tokenizer()
CONTEXTS = tiny.tiny_contexts()
METHOD_NAMES = ["MEMIT", "PMET", "ROME"]


def poisoned(dtype=torch.float32):
    """A model in which one request's subject has no finite state; with all requests, and its id."""
    model = tiny.tiny_llama(dtype=dtype)
    requests = tiny.tiny_requests()
    bad = requests[2]
    others = [r for r in requests if r.id != bad.id]
    used = {
        i for r in others for i in TOKENIZER(f"{r.text} {r.target_new} {r.subject}")["input_ids"]
    }
    used |= {i for context in CONTEXTS for i in TOKENIZER(context)["input_ids"]}
    own = next(i for i in TOKENIZER(" " + bad.subject)["input_ids"] if i not in used)
    model.get_input_embeddings().weight[own] = math.inf
    return EditableModel(model), requests, bad.id


def factors_of(model):
    return {
        layer: factorize(torch.eye(model.down_weight(0).shape[1], dtype=torch.float64), layer).lower
        for layer in HYPER.layers
    }


def weights(model):
    return deepcopy(model.model.state_dict())


def assert_unchanged(model, before):
    for name, tensor in model.model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_target_that_is_not_finite_is_named_and_nothing_is_written(name):
    model, requests, bad = poisoned()
    before = weights(model)
    targets, edits, _keys = edit_once(
        model, TOKENIZER, requests, Statistics(CONTEXTS, factors_of(model)), settings_of(name),
        Silent(),
    )  # fmt: skip
    assert_unchanged(model, before)
    assert [requests[i].id for i in targets.failure.requests] == [bad]
    assert "target is not finite" in targets.failure.reason
    log = edits.set_index("request")
    assert log.loc[bad, "p_bar"] == math.inf and log.loc[bad, "stop_reason"] == "not_finite"
    fine = log[log["stop_reason"].isin(["loss", "argmax_kl", "max_steps"])]
    reached = [r.id for r in requests]
    if name == "ROME":  # one after another: what follows was not looked at
        reached = reached[: reached.index(bad) + 1]
        assert (log.drop(index=reached)["stop_reason"] == "not_reached").all()
    assert set(fine.index) == set(reached) - {bad}
    assert fine["p_bar"].map(math.isfinite).all()


def test_a_prompt_that_is_not_finite_does_not_spoil_those_beside_it():
    """Rows that share a batch answer as they do alone."""
    model, requests, bad = poisoned()
    together = score(model, TOKENIZER, requests, CORRECTED, token_budget=4000).to_pandas()
    for request in requests:
        alone = score(model, TOKENIZER, [request], CORRECTED, token_budget=4000).to_pandas()
        beside = together[together["request"] == request.id].reset_index(drop=True)
        assert len(alone) == len(beside)
        for a, b in zip(alone["logprobs"], beside["logprobs"], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4)  # NaN equals NaN
        edit = beside[beside["kind"] == "edit"]["logprobs"]
        assert all(np.isnan(values).any() == (request.id == bad) for values in edit)


def spread_rows(model, requests):
    return [[subject_row(TOKENIZER, c, r.prompt, r.subject) for c in CONTEXTS] for r in requests]


def test_an_update_that_cannot_be_solved_for_takes_back_the_layers_before_it():
    model = EditableModel(tiny.tiny_llama())
    requests = tiny.tiny_requests()
    before = weights(model)
    factors = factors_of(model) | {2: torch.full((64, 64), math.nan)}
    targets = torch.ones(len(requests), 32)
    done = []
    with pytest.raises(NotFinite, match="layer 2"):
        spread(
            model, spread_rows(model, requests), targets, covariance_write(factors),
            settings_of("MEMIT", HYPER).spread, on_layer=lambda *step: done.append(step[0]),
        )  # fmt: skip
    assert done == [1]
    assert_unchanged(model, before)


def test_an_update_too_large_for_its_type_is_refused():
    with pytest.raises(NotFinite, match="layer 7: the updated matrix is not finite"):
        new_weight(torch.ones(2, 3), torch.full((2, 3), 1e39, dtype=torch.float64), layer=7)


def test_keys_that_a_written_layer_makes_infinite_take_it_back():
    model = EditableModel(tiny.tiny_llama())
    before = weights(model)
    requests = tiny.tiny_requests()
    targets = torch.full((len(requests), 32), 3e38)
    with pytest.raises(NotFinite, match="layer 2: the key is not finite"):
        spread(
            model, spread_rows(model, requests), targets,
            covariance_write({layer: 1e-30 * f for layer, f in factors_of(model).items()}),
            settings_of("MEMIT", HYPER).spread,
        )  # fmt: skip
    assert_unchanged(model, before)


@pytest.fixture
def run(tmp_path):
    """The files of a run whose second request is hopeless, and a function that runs k = 1."""
    model, requests, bad = poisoned()
    base = tmp_path / "model"
    model.model.save_pretrained(base)
    TOKENIZER.save_pretrained(base)
    write_record(base, "f00d")
    write_requests(tmp_path / "requests.jsonl", requests)
    (tmp_path / "texts.jsonl").write_text(json.dumps("Lyon is a city.") + "\n")
    sets = {METHODS[name].context_set: list(CONTEXTS) for name in METHOD_NAMES}
    write_json(tmp_path / "contexts.json", {"templates": sets})
    factors = {f"layer{layer}": f.numpy() for layer, f in factors_of(model).items()}
    write_matrices(tmp_path / "factors.safetensors", factors, {"base": "f00d"})
    inputs = Inputs(
        tmp_path / "requests.jsonl",
        tmp_path / "texts.jsonl",
        base,
        tmp_path / "contexts.json",
        tmp_path / "factors.safetensors",
    )

    def extend(name, mode):
        stop = stop_after(3, mode, extended=5)
        link = Link(1, METHODS[name], HYPER, CORRECTED.editing(), stop, compute_on())
        extend_chain(link, inputs, IterationFiles.of(tmp_path / name, 1))
        return tmp_path / name / "iter1", model, requests, bad

    return extend


@pytest.mark.parametrize("mode", ["early", "full"])
@pytest.mark.parametrize("name", METHOD_NAMES)
def test_a_collapsed_iteration_keeps_the_state_before_it_and_ends_the_run(name, mode, run):
    folder, model, requests, bad = run(name, mode)
    state = read_state(folder / "state.json")
    assert state.collapsed == f"the target is not finite (request {bad})"
    assert state.stopped and state.dp == math.inf == state.differences[-1]
    kept = EditableModel(tiny.tiny_llama())
    load_edited(kept, folder / "edited.safetensors", {"base": "f00d", "k": "1"})
    for layer in HYPER.layers:
        assert torch.equal(kept.down_weight(layer), model.down_weight(layer))
    # the jobs that follow pass it on: nothing is computed again, and the workflow goes on
    second = IterationFiles.of(folder.parent, 2)
    pass_on(folder / "state.json", second, scored=True)
    assert read_state(second.state).collapsed == state.collapsed
    # and the metrics say infinity, whatever the other requests' numbers are
    edits = pd.read_parquet(folder / "edits.parquet")
    scores = score(model, TOKENIZER, requests, CORRECTED, ["Lyon is a city."]).to_pandas()
    rows = run_metrics(
        {0: scores, 1: scores},
        {1: edits},
        run=RunKey("d", "m", name, 1),
        scoring=CORRECTED_SCORING,
        sequential=False,
    )
    assert rows["dp"].tolist()[1] == math.inf
