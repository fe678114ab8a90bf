"""On a real GPU the engine computes what it computes on the CPU; elsewhere this is skipped."""

import logging
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from modeledit.editing.optimization import optimize
from modeledit.editing.problem import build_problem
from modeledit.io.hardware import read_hardware
from modeledit.lm.budget import token_budget
from modeledit.lm.device import prepare_device
from modeledit.lm.model import EditableModel, load_model
from modeledit.lm.trees import label_outputs
from modeledit.study.architectures import ARCHITECTURES
from modeledit.study.layout import IterationFiles
from modeledit.study.memory import editing
from modeledit.study.settings import AUTO_BUDGET
from tests.editing.device_study import (
    ALL_METHODS,
    CONTEXTS,
    FAMILIES,
    MODELS,
    NAMES,
    PRESETS,
    REQUESTS,
    TOKENIZER,
    Study,
)
from tests.editing.tiny_edits import settings_of

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here"),
    pytest.mark.usefixtures("some_stop_early"),
]
GIB = 2**30


def in_float64(kind: str) -> float:
    """How alike: transformers turns keys and queries by sines and cosines in float32."""
    learned = ARCHITECTURES[FAMILIES[kind]().config.model_type].positions == "learned"
    return 1e-9 if learned else 2e-4


def assert_same(work: Study, method: str, rtol: float) -> None:
    factors = work.factors("cpu")
    edits, written = work.edit(method, factors)
    expected, matrices = work.edit(method, factors, "cpu")
    pd.testing.assert_frame_equal(edits, expected, rtol=rtol, atol=rtol)
    for layer, matrix in matrices.items():
        np.testing.assert_allclose(written[layer], matrix, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("method", ALL_METHODS)
def test_every_method_in_float64(study, kind, preset, method):
    """Targets, stop steps and reasons, losses, perplexities and written matrices."""
    assert_same(study(kind, preset=preset, dtype=torch.float64), method, in_float64(kind))


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("method", ["ROME", "NAP_PMET"])
def test_every_family_in_float64(study, kind, method):
    assert_same(study(kind, dtype=torch.float64), method, in_float64(kind))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("method", NAMES)
def test_float32(study, kind, method):
    assert_same(study(kind), method, 5e-3)


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_only_runs_forward(study, kind):
    work = study(kind, dtype=torch.float64)
    for row, expected in zip(work.score(), work.score("cpu"), strict=True):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            assert row[name] == (pytest.approx(value, abs=1e-5) if "log" in name else value)
    pd.testing.assert_frame_equal(work.judge(), work.judge("cpu"))
    assert work.speak() == work.speak("cpu")
    for one, other in zip(work.drift(), work.drift("cpu"), strict=True):
        assert asdict(one) == pytest.approx(asdict(other), rel=1e-5)
    there = work.factors()
    for layer, factor in work.factors("cpu").items():
        np.testing.assert_allclose(there[layer], factor, rtol=in_float64(kind), atol=1e-6)


def test_prefixes_are_drawn_again_alike(study):
    """Other ones than on a CPU: the two draw from generators of their own."""
    assert study("llama").generate() == study("llama").generate()


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("kind", MODELS)
def test_reduced_precision_is_near_and_real(study, kind, precision):
    work = study(kind)
    exact = work.edit("MEMIT", factors := work.factors())[0]
    found = work.edit("MEMIT", factors, precision=precision)[0]
    changed = np.abs(found["p_init"] / exact["p_init"] - 1).max()
    assert (1e-7 if precision == "tf32" else 1e-5) < changed < 0.1
    # And no more than for the time of OPTIMIZATION.
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("method", ["NA_PMET", "ROME", "MEMIT"])
def test_the_same_bits_twice(study, deterministic, kind, method):
    work = study(kind)
    factors = work.factors()
    (edits, written), (again, others) = (work.edit(method, factors) for _ in range(2))
    pd.testing.assert_frame_equal(edits, again, check_exact=True)
    assert all((written[layer] == others[layer]).all() for layer in written)


def test_a_whole_run_on_a_gpu(study):
    """Two jobs with their files, which say what they ran on."""
    work = study("gpt2")
    states, expected = work.chain("NA_PMET"), work.chain("NA_PMET", "cpu")
    for state, other in zip(states, expected, strict=True):
        assert state["differences"] == pytest.approx(other["differences"], rel=1e-2)
    work.chain("NA_PMET")
    used = read_hardware(IterationFiles.of(work.folder / "run", 2).hardware)
    assert used is not None and used.device == torch.cuda.get_device_name()
    assert used.peak_device_gb is not None and used.peak_device_gb > 0


def test_a_gpu_is_found_and_claimed():
    assert prepare_device("auto", 1) == prepare_device("cuda", 1) == "cuda"
    assert torch.cuda.current_device() < torch.cuda.device_count()


def test_a_model_is_loaded_onto_it(study):
    model = load_model(study("llama").folder / "model", "cuda")[0]
    assert {tensor.device.type for tensor in model.model.state_dict().values()} == {"cuda"}


@pytest.fixture
def wide():
    """A model of which a few requests fill a small GPU's worth of memory."""
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=6,
        num_attention_heads=8,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    with torch.device("cuda"):
        return EditableModel(AutoModelForCausalLM.from_config(config, dtype=torch.float32))


@pytest.fixture
def little_memory(wide) -> Iterator[None]:
    """What is allocated, and half a GiB more."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    held = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction((held + GIB / 2) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_as_many_tokens_as_fit(wide, monkeypatch):
    """And what is said to fit does fit: the estimate lies above the peak."""
    torch.cuda.empty_cache()
    how = settings_of("MEMIT", token_budget=token_budget("auto", wide, 256, len(CONTEXTS)))
    assert how.token_budget == AUTO_BUDGET["cuda"]
    tokenization = how.tokenization(wide)
    one = [build_problem(TOKENIZER, r, CONTEXTS, [], 0, tokenization) for r in REQUESTS]
    torch.cuda.reset_peak_memory_stats()
    optimize(wide, one * 64, how.targets, how.token_budget)
    peak = torch.cuda.max_memory_allocated()
    assert peak <= editing(wide, how.token_budget, 256, len(CONTEXTS)).device
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (GIB // 4, 80 * GIB))
    assert 16 <= token_budget("auto", wide, 256, len(CONTEXTS)) < AUTO_BUDGET["cuda"]


def test_memory_runs_out_and_it_goes_on_with_less(wide, little_memory, caplog):
    how = settings_of("MEMIT", token_budget=10**6)
    tokenization = how.tokenization(wide)
    one = [build_problem(TOKENIZER, r, CONTEXTS, [], 0, tokenization) for r in REQUESTS]
    problems = one * 64
    with caplog.at_level(logging.WARNING):
        found = optimize(wide, problems, how.targets, 10**6)
    assert "out of memory; going on with a token budget of" in caplog.text
    expected = optimize(wide, one, how.targets, 256)
    for i, state in enumerate(found.state):
        torch.testing.assert_close(state, expected.state[i % len(one)], rtol=1e-3, atol=1e-4)
    rows = [row for problem in problems for row in problem.edit_rows]
    assert len(label_outputs(wide, rows, 10**6, top=5)) == len(rows)
