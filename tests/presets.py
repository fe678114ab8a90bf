"""Both presets' switches as config/presets.yaml settles them, for tests to change one at a time."""

from pathlib import Path

from modeledit.study.config import preset_switches

ROOT = Path(__file__).parents[1]
CORRECTED = preset_switches("corrected", ROOT)
PUBLISHED = preset_switches("published", ROOT)
