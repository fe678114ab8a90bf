"""Tasks of lm-evaluation-harness: a local one on a tiny model, without a network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from modeledit.lm import harness
from modeledit.lm.harness import HarnessError, results, run_tasks
from modeledit.study.observation import Harness
from tests.reference import models as tiny

ROOT = Path(__file__).parents[2]
CITIES = ("Lyon", "Munich", "Naples", "Paris", "Berlin", "Rome", "Osaka")
COUNTRIES = ["France", "Germany", "Italy"]
RUN = """
import sys
from pathlib import Path
from modeledit.study.observation import Harness
from scripts.run_harness import run_harness
model, tasks, output = map(Path, sys.argv[1:])
run_harness(model, Harness(tasks=("cities",), limit=6), tasks, "cpu", output)
"""


def write_task(folder: Path) -> list[dict]:
    """A task of multiple choice on a local file; its documents."""
    rows = [
        {"prompt": f"{city} is a city in the country of", "label": number % 3}
        for number, city in enumerate(CITIES)
    ]
    data = folder / "cities.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "cities",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "doc_to_choice": COUNTRIES,
        "doc_to_target": "label",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 2.0},
    }
    (folder / "tasks").mkdir()
    (folder / "tasks/cities.yaml").write_text(yaml.safe_dump(task))
    return rows


def right(folder: Path, rows: list[dict]) -> list[bool]:
    """Whether the likeliest choice of each row is the right one, by a plain loop."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer, found = AutoTokenizer.from_pretrained(folder), []
    for row in rows:
        start = len(tokenizer(row["prompt"])["input_ids"])
        sums = []
        for country in COUNTRIES:
            ids = torch.tensor(tokenizer(f"{row['prompt']} {country}")["input_ids"])
            with torch.no_grad():
                logprobs = model(ids[None]).logits[0].log_softmax(-1)
            sums.append(sum(float(logprobs[i - 1, ids[i]]) for i in range(start, len(ids))))
        found.append(sums.index(max(sums)) == row["label"])
    return found


@pytest.mark.slow
def test_a_local_task_says_offline_what_a_plain_loop_does(tmp_path):
    folder = tmp_path / "model"
    tiny.tiny_gpt2().save_pretrained(folder)
    tiny.tiny_tokenizer().save_pretrained(folder)
    rows, output = write_task(tmp_path), tmp_path / "results.json"
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    command = [sys.executable, "-c", RUN, str(folder), str(tmp_path / "tasks"), str(output)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | offline, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    by_hand = right(folder, rows[:6])
    assert 0 < sum(by_hand) < 6  # else any answer would do
    found = json.loads(output.read_text())
    cities = found["tasks"].pop("cities")
    share = sum(by_hand) / 6
    assert cities["metrics"]["acc"]["value"] == pytest.approx(share)
    # The standard error of a mean of 6 values, with n - 1.
    assert cities["metrics"]["acc"]["stderr"] == pytest.approx((share * (1 - share) / 5) ** 0.5)
    assert (cities["version"], cities["samples"]) == (2.0, 6)
    assert found == {"tasks": {}, "limit": 6, "lm_eval": "0.4.13"}


def test_of_the_results_metrics_are_kept_with_filters_and_what_has_no_error():
    found = {
        "results": {
            "sums": {
                "alias": "sums",
                "exact_match,strict": 0.5,
                "exact_match_stderr,strict": "N/A",
                "bits,none": float("nan"),
                "sample_len": 3,
            },
            "group": {"alias": "group", "acc,none": 0.25, "acc_stderr,none": 0.125, " ": " "},
        },
        "versions": {"sums": 3},
        "n-samples": {"sums": {"original": 9, "effective": 4}},
    }
    assert results(found) == {
        "sums": {
            "metrics": {
                "exact_match,strict": {"value": 0.5, "stderr": None},
                "bits": {"value": None, "stderr": None},
            },
            "version": 3,
            "samples": 4,
        },
        "group": {
            "metrics": {"acc": {"value": 0.25, "stderr": 0.125}},
            "version": None,
            "samples": None,
        },
    }


def test_a_task_that_nobody_knows_is_named(monkeypatch, tmp_path):
    asked = []

    class Manager:
        def __init__(self, include_path, include_defaults):
            asked.append((include_path, include_defaults))
            self.all_tasks = ["mine"] + ["piqa"] * include_defaults

    class Package:
        TaskManager = Manager

    monkeypatch.setattr(harness, "_package", lambda name: Package)
    said = f"tasks: cite: no such task, neither in {tmp_path} nor among those that lm-evaluation"
    with pytest.raises(HarnessError, match=said):
        run_tasks(tmp_path, Harness(tasks=("mine", "cite", "piqa")), tmp_path, "cpu")
    assert asked == [(str(tmp_path), False), (str(tmp_path), True)]
    with pytest.raises(HarnessError, match="evaluation.harness.tasks: cite: no such task; `lm-ev"):
        run_tasks(tmp_path, Harness(tasks=("cite",)), None, "cpu")


def test_without_the_package_the_way_to_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(HarnessError, match="not installed; run `pip install -r envs/harness.txt`"):
        run_tasks(tmp_path, Harness(tasks=("any",)), None, "cpu")
