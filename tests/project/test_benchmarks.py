"""The benchmarks run, on tiny models: that what they measure is still there to be measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.editing.tiny_edits import write_record
from tests.reference import models as tiny

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def run(script: str, *options: object) -> subprocess.CompletedProcess:
    asked = [sys.executable, ROOT / "benchmarks" / script, "--threads", 1, *options]
    return subprocess.run([str(part) for part in asked], capture_output=True, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A folder with a tiny model that goes by the name of the embedded one, whose layers it has."""
    folder = tmp_path_factory.mktemp("benchmarks") / "smollm2-135m"
    tiny.tiny_llama(layers=9).save_pretrained(folder)
    tiny.tiny_tokenizer().save_pretrained(folder)
    write_record(folder, "tiny")
    return folder


CASES = {
    "optimization.py": ("--requests", 3, "--plain-requests", 1),
    "ablation.py": ("--requests", 3, "--budgets", 64),
    "scaling.py": (
        *("--only", "requests", "length", "covariance", "scoring", "rome", "--max-requests", 2),
        *("--repeats", 1, "--fillers", 1, "--lengths", 16, "--budgets", 64),
    ),
}


@pytest.mark.parametrize("script", CASES)
def test_a_benchmark_runs(script, model, tmp_path):
    done = run(script, "--model", model, "--steps", 2, "--output", tmp_path, *CASES[script])
    assert done.returncode == 0, done.stderr
    for table in tmp_path.glob("*.csv"):
        assert table.with_suffix(".png").stat().st_size > 0
    assert list(tmp_path.glob("*.csv"))


def test_measurements_of_a_gpu_go_on_where_they_were_stopped(tmp_path):
    file = tmp_path / "gpu.json"
    few = ("--scale", "tiny", "--models", "gpt-j-6b", "--precision", "float32")
    few += ("--methods", "MEMIT", "ROME", "--requests", 2, "--steps", 2, "--in-turn", 1)
    few += ("--articles", 1, "--plain-requests", 1, "--results", file)
    first = run("gpu.py", *few, "--seconds", 1)
    assert first.returncode == 1 and "not measured yet; the same command goes on" in first.stderr
    before = json.loads(file.read_text())["entries"]
    second = run("gpu.py", *few)
    assert second.returncode == 0, second.stderr
    after = json.loads(file.read_text())["entries"]
    assert 0 < len(before) < len(after) == 6
    assert {name: after[name] for name in before} == before
    again = run("gpu.py", *few)
    assert again.returncode == 0 and not again.stderr
    assert json.loads(file.read_text())["entries"] == after
    assert after["gpt-j-6b MEMIT float32 2048"]["target_error"] < 1e-3
    other = run("gpu.py", *few, "--requests", 3)
    assert other.returncode == 1 and f"{file}: made with another requests" in other.stderr
