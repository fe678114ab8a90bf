"""As many tokens at once as fit: under a limit of memory, on a device, and as was asked for."""

import subprocess
import sys

import psutil
import pytest
import torch

from modeledit.lm import budget
from modeledit.lm.budget import free_memory, token_budget
from modeledit.lm.model import EditableModel
from modeledit.study.memory import editing, parameters
from modeledit.study.settings import AUTO_BUDGET, SMALLEST_BUDGET
from tests.reference import models as tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> EditableModel:
    return EditableModel(tiny.tiny_llama())


def test_a_number_is_what_was_asked_for(model, monkeypatch):
    monkeypatch.setattr(budget, "free_memory", lambda device: 0.0)
    assert token_budget(100, model, 10, 6) == 100


@pytest.mark.parametrize("builder", [tiny.tiny_gpt2, tiny.tiny_gptj, tiny.tiny_llama])
def test_a_loaded_model_has_the_sizes_of_its_description(builder):
    loaded = EditableModel(builder())
    config = loaded.model.config
    assert (loaded.width, loaded.depth) == (config.hidden_size, config.num_hidden_layers)
    assert loaded.vocabulary == config.vocab_size
    assert loaded.mlp_width == loaded.down_weight(0).shape[1]
    assert loaded.tied == config.tie_word_embeddings
    counted = sum(p.numel() for p in loaded.model.parameters())
    assert parameters(loaded) == pytest.approx(counted, rel=0.25)  # positions, biases and norms


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 2])
def test_the_largest_power_of_two_that_fits(model, monkeypatch, share):
    most = AUTO_BUDGET["cpu"]
    held = 4 * parameters(model)
    needs = {n: editing(model, n, 100, 6).device - held for n in (most, most // 2, most // 4)}
    free = share * needs[most] / budget.SHARE
    monkeypatch.setattr(budget, "free_memory", lambda device: free)
    found = token_budget("auto", model, 100, 6)
    assert found & (found - 1) == 0
    assert editing(model, found, 100, 6).device - held <= budget.SHARE * free * (1 + 1e-9)
    assert found == most or editing(model, 2 * found, 100, 6).device - held > budget.SHARE * free


def test_where_nothing_fits_the_smallest_is_tried(model, monkeypatch):
    monkeypatch.setattr(budget, "free_memory", lambda device: -1e9)
    assert token_budget("auto", model, 100, 6) == SMALLEST_BUDGET


def test_free_memory_of_a_cpu():
    assert 0 < free_memory(CPU) <= psutil.virtual_memory().total


LIMITED = """
import resource, sys
import psutil, torch
from transformers import AutoModelForCausalLM, LlamaConfig
from modeledit.lm import budget
from modeledit.lm.model import EditableModel
from modeledit.study.memory import editing
config = LlamaConfig(vocab_size=32000, hidden_size=256, intermediate_size=1024,
                     num_hidden_layers=24, num_attention_heads=4)
torch.set_num_threads(1)
model = EditableModel(AutoModelForCausalLM.from_config(config))
limit = psutil.Process().memory_info().vms + int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
assert budget.free_memory(model.device) <= int(sys.argv[1]) * 2**20
print(budget.token_budget("auto", model, 1000, 6))
"""


def test_less_under_a_limit_of_the_process():
    """Such as a batch system sets; the job then runs with what fits."""
    asked = [sys.executable, "-c", LIMITED]
    run = [subprocess.run([*asked, mib], capture_output=True, text=True) for mib in ("150", "4000")]
    few, many = (int(done.stdout) for done in run)
    assert SMALLEST_BUDGET <= few < many == AUTO_BUDGET["cpu"]


def test_free_memory_of_a_gpu_counts_what_torch_holds_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 7)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 4)
    assert free_memory(torch.device("cuda", 0)) == 13
