"""One job per GPU: what processes claim from a list of devices (no GPU needed); what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modeledit.lm.device import claim, prepare_device

ROOT = Path(__file__).parents[2]
CLAIMING = """
import logging, sys
from pathlib import Path
from modeledit.lm import device
device.LOOK_AGAIN = 0.05
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
print("claimed", device.claim(sys.argv[2:], Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path):
    """Start a process that claims one of the named devices and keeps it until it is killed."""
    processes = []

    def start_one(*devices):
        process = subprocess.Popen(
            [sys.executable, "-c", CLAIMING, str(tmp_path / "locks"), *devices],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start_one
    for process in processes:
        process.kill()
        process.communicate()


def test_contending_processes_get_a_device_each_and_the_next_one_waits_for_a_death(start):
    first, second = start("a", "b"), start("a", "b")
    lines = [first.stdout.readline(), second.stdout.readline()]
    assert sorted(lines) == ["claimed 0\n", "claimed 1\n"]
    third = start("a", "b")
    assert third.stdout.readline().startswith("all 2 GPUs are taken")
    assert third.poll() is None
    second.kill()  # no clean-up code runs
    assert third.stdout.readline() == lines[1]


def test_names_count_and_not_positions(tmp_path):
    """Jobs that see the same devices in another order, or only some, still keep apart."""
    assert claim(["a", "b", "c"], tmp_path) == 0
    assert claim(["c", "a"], tmp_path) == 0
    assert claim(["c", "a", "b"], tmp_path) == 2


def test_a_single_device_is_claimed_but_shared(tmp_path):
    assert claim(["a"], tmp_path) == 0
    assert claim(["a"], tmp_path) == 0
    assert claim(["a", "b"], tmp_path) == 1


def test_the_folder_of_claims_is_private(tmp_path):
    claim(["a"], tmp_path / "locks")
    assert (tmp_path / "locks").stat().st_mode & 0o777 == 0o700


def test_what_is_asked_for_is_what_is_used():
    before = torch.get_num_threads()
    try:
        assert prepare_device("cpu", 3) == "cpu"
        assert torch.get_num_threads() == 3
        usable = torch.cuda.is_available()
        assert prepare_device("auto", 1) == ("cuda" if usable else "cpu")
        if not usable:
            with pytest.raises(ValueError, match="sees no CUDA device; allowed here: cpu, auto"):
                prepare_device("cuda", 1)
    finally:
        torch.set_num_threads(before)


def test_determinism_is_switched_on_and_off():
    threads = torch.get_num_threads()
    try:
        prepare_device("cpu", 1, deterministic=True)
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        prepare_device("cpu", 1, deterministic=False)
        assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_num_threads(threads)
