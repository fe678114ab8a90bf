"""Running out of memory: real failures of the allocator, and what is kept."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from modeledit.editing.optimization import _optimize_chunk, optimize
from modeledit.editing.problem import build_problem
from modeledit.lm.batching import in_batches, ran_out_of_memory
from modeledit.lm.model import EditableModel
from tests.editing.test_engine import HYPER
from tests.editing.tiny_edits import settings_of
from tests.reference import models as tiny

ROOT = Path(__file__).parents[2]


def halves(items, budget):
    """Groups of `budget` items."""
    return [list(items[i : i + budget]) for i in range(0, len(items), budget)]


def test_a_group_that_does_not_fit_is_split_and_nothing_runs_twice():
    done, tried = [], []

    def run(group):
        tried.append(len(group))
        if len(group) > 3:
            torch.empty(10**15)  # the real allocator's real refusal
        done.extend(group)
        return len(group)

    groups = list(in_batches(range(10), halves, run, 8))
    assert done == [item for group, _ in groups for item in group] == list(range(10))
    assert tried == [8, 4, 2, 2, 2, 2, 2]


def test_a_single_item_that_does_not_fit_is_an_error():
    with pytest.raises(RuntimeError, match="allocate memory"):
        list(in_batches(range(4), halves, lambda group: torch.empty(10**15), 2))


SHORT_OF_MEMORY = {
    "allocator": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
    "host": MemoryError(),
    "CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4000000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "CUDA": torch.AcceleratorError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
    "driver": RuntimeError("CUDA driver error: out of memory"),
    "cuBLAS": RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasSgemm( handle, opa, opb, m, n)`"
    ),
    "cuBLAS handle": RuntimeError(
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    ),
    "cuBLAS handle, not initialized": RuntimeError(
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"
    ),
    "cuBLASLt handle": RuntimeError(
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasLtCreate(handle)`"
    ),
    "cuSOLVER": RuntimeError(
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnDpotrf( handle, n)`"
    ),
    "cuSOLVER handle": RuntimeError(
        "cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR, when calling `cusolverDnCreate(handle)`. "
        "If you keep seeing this error, you may use `torch.backends.cuda.preferred_linalg_library"
        "()` to try linear algebra operators with other supported backends."
    ),
}
OTHER_ERRORS = {
    "shapes": RuntimeError("shapes do not match"),
    "kernel": torch.AcceleratorError("CUDA error: device-side assert triggered"),
    "address": torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    "cuBLAS": RuntimeError(
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb)`"
    ),
    "cuBLAS in use, not initialized": RuntimeError(
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasSetStream(handle, stream)`"
    ),
    "cuSOLVER": RuntimeError(
        "cusolver error: CUSOLVER_STATUS_INVALID_VALUE, when calling `cusolverDnDpotrf( handle)`"
    ),
    "no runtime error": ValueError("CUDA error: out of memory"),
}


@pytest.mark.parametrize("case", SHORT_OF_MEMORY)
def test_what_short_memory_says(case):
    assert ran_out_of_memory(SHORT_OF_MEMORY[case])


@pytest.mark.parametrize("case", OTHER_ERRORS)
def test_what_other_errors_say(case):
    assert not ran_out_of_memory(OTHER_ERRORS[case])


def test_a_handle_that_cannot_be_made_halves_the_budget_and_in_the_end_is_the_error():
    tried = []

    def run(group):
        tried.append(len(group))
        raise SHORT_OF_MEMORY["cuBLAS handle, not initialized"]

    with pytest.raises(RuntimeError, match="cublasCreate"):
        list(in_batches(range(8), halves, run, 8))
    assert tried == [8, 4, 2, 1]


def test_other_errors_are_not_taken_for_memory():
    with pytest.raises(ZeroDivisionError):
        list(in_batches(range(4), halves, lambda group: 1 / 0, 4))


def test_targets_are_the_same_when_memory_runs_out(monkeypatch):
    model = EditableModel(tiny.tiny_llama(dtype=torch.float64))
    tokenizer, contexts = tiny.tiny_tokenizer(), tiny.tiny_contexts()
    problems = [build_problem(tokenizer, r, contexts) for r in tiny.tiny_requests()]
    settings = settings_of("MEMIT", replace(HYPER, steps=4)).targets
    expected = optimize(model, problems, settings, 10_000)
    sizes = []

    def crowded(model, chosen, *rest):
        sizes.append(len(chosen))
        if len(chosen) > 2:
            torch.empty(10**15)
        return _optimize_chunk(model, chosen, *rest)

    monkeypatch.setattr("modeledit.editing.optimization._optimize_chunk", crowded)
    found = optimize(model, problems, settings, 10_000)
    assert sizes[0] > 2 and max(sizes[-3:]) <= 2
    torch.testing.assert_close(found.state, expected.state, rtol=1e-9, atol=1e-9)
    assert found.numbers["steps"] == expected.numbers["steps"]


LIMITED = """
import logging, resource, torch
import modeledit.lm.trees
from modeledit.lm.model import EditableModel
from modeledit.lm.tokens import Row
from tests.reference import models as tiny

logging.basicConfig(format="%(message)s")
torch.set_num_threads(1)
modeledit.lm.trees.tree_size = lambda model, budget: budget  # trees wide enough to matter
model = EditableModel(tiny.tiny_llama())
rows = [Row(tuple([i + 1] * 200), tuple([3] * 200)) for i in range(60)]
score = modeledit.lm.trees.label_outputs
score(model, rows[:2], 400)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 300 * 2**20  # a mask of 12,000 nodes takes 576 MB
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
assert all(torch.isfinite(said.log_p).all() for said in score(model, rows, 12000, top=2))
"""


def test_scoring_under_a_real_memory_limit_goes_on_with_less():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "out of memory; going on with a token budget of 6000" in done.stderr
