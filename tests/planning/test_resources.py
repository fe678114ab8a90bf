"""What jobs ask their scheduler for."""

import pytest

from modeledit.data.record_files import count_records
from modeledit.planning.resources import SNAKEMAKE_MB, JobResources
from modeledit.study import memory
from modeledit.study.config import load_settings
from modeledit.study.methods import METHODS
from tests.study.test_config import MODEL, ROOT, changed


def resources(has_driver=False, **compute):
    return JobResources(load_settings(changed(compute=compute), ROOT, count_records), has_driver)


@pytest.mark.parametrize(
    ("device", "has_driver", "gpus"),
    [("cpu", True, 0), ("cuda", False, 1), ("auto", True, 1), ("auto", False, 0)],
)
def test_only_a_driver_or_a_word_asks_for_a_gpu(device, has_driver, gpus):
    assert resources(has_driver, device=device).gpus == gpus


def test_one_cpu_thread_is_deterministic_whatever_the_switch_says():
    assert resources(deterministic=True, threads=1).compute == resources(threads=1).compute
    assert resources(deterministic=True, threads=2).compute.deterministic
    assert resources(True, deterministic=True, threads=1).compute.deterministic


def test_the_budget_is_halved_from_the_third_attempt_on():
    asked = resources(token_budget=100)
    assert [asked.token_budget(attempt) for attempt in range(1, 6)] == [100, 100, 50, 25, 16]


def test_a_budget_that_the_job_decides():
    """A number from the third attempt on: less than what failed, whatever is free then."""
    asked = resources(token_budget="auto")
    assert [asked.token_budget(attempt) for attempt in range(1, 5)] == [0, 0, 512, 256]
    assert resources(True, token_budget="auto").token_budget(3) == 4096
    assert asked.scoring(MODEL, 1) == resources(token_budget=1024).scoring(MODEL, 1)


def test_memory_grows_with_attempts_and_lies_above_the_estimate():
    asked = resources()
    model, method = asked.settings.models[MODEL], METHODS["MEMIT"]
    peak = memory.editing(model, 1024, asked.settings.config.trials.size, method.n_contexts)
    first, second = (asked.editing("geography", MODEL, "MEMIT", n) for n in (1, 2))
    assert first == peak.host_mb(gpu=False) + SNAKEMAKE_MB and second == 2 * first
    assert resources(True).editing("geography", MODEL, "MEMIT", 1) < first  # the rest is the GPU's
    assert asked.passing(1) < asked.preparing(MODEL, 1) and asked.passing(2) == 2 * asked.passing(1)
    for ask in (asked.scoring, asked.gathering, asked.factorizing, asked.preparing):
        assert ask(MODEL, 2) == 2 * ask(MODEL, 1) > 0
    assert resources(True).preparing(MODEL, 1) == asked.preparing(MODEL, 1)
