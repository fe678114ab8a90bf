"""What the presets of `config/presets.yaml` choose, in the forms that the library takes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from modeledit.evaluation.aggregation import Averaging
from modeledit.evaluation.metrics import Scoring
from modeledit.study.config import preset_switches
from modeledit.study.stopping import Rule

ROOT = Path(__file__).resolve().parents[1]
CORRECTED = preset_switches("corrected", ROOT)
PUBLISHED = preset_switches("published", ROOT)
CORRECTED_SCORING = Scoring.of(CORRECTED)


def averaging(rule: Rule, **changed: Any) -> Averaging:
    """The corrected preset's means over trials, with this rule and whatever is changed."""
    return replace(Averaging.of(CORRECTED, rule.epsilon), rule=rule, **changed)
