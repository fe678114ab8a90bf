"""What the presets of `config/presets.yaml` choose, in the forms that the library takes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from modeledit.evaluation.aggregation import Averaging
from modeledit.evaluation.metrics import Scoring
from modeledit.study.stopping import Rule

PRESETS = yaml.safe_load(
    (Path(__file__).resolve().parents[1] / "config" / "presets.yaml").read_text(encoding="utf-8")
)
CORRECTED_SCORING = Scoring.of(PRESETS["corrected"])


def averaging(rule: Rule, **changed: Any) -> Averaging:
    """The corrected preset's means over trials, with this rule and whatever is changed."""
    return replace(Averaging.of(PRESETS["corrected"], rule.epsilon), rule=rule, **changed)
