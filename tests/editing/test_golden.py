"""Numbers that an edit made when its engine version was raised last.

The version in workflow/rules/editing.smk decides whether finished edits are made again. If this
test fails because the engine is meant to give other numbers, raise the version there and run
`python -m tests.editing.test_golden`, which writes golden.json anew.
"""

import json
import re
from pathlib import Path

import pytest
import torch

from modeledit.editing.iteration import Statistics, edit_once
from modeledit.lm.model import EditableModel
from modeledit.study.hyperparameters import SpreadHyperparameters
from modeledit.study.methods import METHODS
from tests.editing.tiny_edits import Silent, settings_of
from tests.reference import models as tiny

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("golden.json")
HYPER = SpreadHyperparameters(
    layers=(1, 2),
    lr=0.5,
    steps=8,
    clamp=2.0,
    weight_decay=0.01,
    kl_factor=0.0625,
    covariance_weight=20.0,
)


def engine_version() -> int:
    text = (ROOT / "workflow/rules/editing.smk").read_text(encoding="utf-8")
    return int(re.search(r"^ENGINE_VERSION = (\d+)$", text, re.MULTILINE).group(1))


def measured() -> dict[str, dict[str, float]]:
    """p of one iteration and the size of what it wrote, in float64 on a tiny GPT-2."""
    numbers = {}
    for name in sorted(name for name, method in METHODS.items() if method.in_paper):
        model = EditableModel(tiny.tiny_gpt2(dtype=torch.float64))
        before = {layer: model.down_weight(layer).clone() for layer in HYPER.layers}
        usable = [r for r in tiny.tiny_requests() if r.editing_neighbors]
        factors = {layer: torch.eye(128, dtype=torch.float64) for layer in HYPER.layers}
        _, edits, _keys = edit_once(
            model,
            tiny.tiny_tokenizer(),
            usable,
            Statistics(tiny.tiny_contexts(), factors),
            settings_of(name, HYPER, token_budget=500),
            Silent(),
        )
        numbers[name] = {
            "p_bar": float(edits["p_bar"].mean()),
            "p_hat": float(edits["p_hat"].mean()),
            "steps": float(edits["steps"].sum()),
        } | {
            f"update{layer}": float((model.down_weight(layer) - old).norm())
            for layer, old in before.items()
        }
    return numbers


def test_numbers_move_only_with_the_engine_version():
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert engine_version() == golden["engine_version"]
    now = measured()
    assert sorted(now) == sorted(golden["numbers"])
    for name, numbers in golden["numbers"].items():
        assert now[name] == pytest.approx(numbers, rel=1e-6), name


if __name__ == "__main__":
    content = {"engine_version": engine_version(), "numbers": measured()}
    GOLDEN.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
