"""The manual's tables say what the types say."""

import re

import pytest

from modeledit.study import manual
from tests.study.test_config import CONFIG, PRESETS


def test_the_manual_is_not_stale():
    text = manual.MANUAL.read_text(encoding="utf-8")
    assert manual.written(text) == text, "run python -m modeledit.study.manual"


def test_a_stale_table_is_written_anew():
    text = manual.MANUAL.read_text(encoding="utf-8")
    stale = text.replace("| `seed` |", "| `sede` |")
    assert stale != text and manual.written(stale) == text
    with pytest.raises(ValueError, match="the marks of the table of keys are missing"):
        manual.written(text.replace("<!-- keys", "<!-- "))


def keys_of(value, before=""):
    """The keys of a configuration as the manual spells them."""
    if isinstance(value, list):
        return {key for item in value for key in keys_of(item, f"{before[:-1]}[].")}
    if not isinstance(value, dict):
        return {before[:-1]}
    named = before in ("datasets.",)
    parts = (
        keys_of(v, f"{before}{{name}}." if named else f"{before}{k}.") for k, v in value.items()
    )
    return set().union(*parts)


def test_every_key_of_the_default_has_its_row():
    found = re.findall(r"^\| `([^`]+)`", manual.key_table(), re.MULTILINE)
    assert len(found) == len(set(found))
    used = keys_of({k: v for k, v in CONFIG.items() if k not in ("runs", "switches")})
    assert used <= set(found), used - set(found)
    assert {f"runs[].{key}" for key in CONFIG["runs"][0]} <= set(found)
    for line in manual.key_table().splitlines()[2:]:
        assert len(line.split(" | ")) == 3 and line.split(" | ")[1], line


def test_switches_stand_with_the_presets_choices():
    rows = [line.split(" | ") for line in manual.switch_table().splitlines()[2:]]
    assert [row[0].strip("| `") for row in rows] == list(PRESETS["corrected"])
    by_name = {row[0].strip("| `"): row for row in rows}
    assert by_name["specificity_gt"][1:4] == [
        "`dataset`",
        "`model_output`",
        "`model_output_everywhere`",
    ]
    assert by_name["round_per_trial"][1:3] == ["none", "`2`"]


def test_limits_are_in_words():
    rows = dict(re.findall(r"^\| `([^`]+)` \|.*\| (.*) \|$", manual.key_table(), re.MULTILINE))
    assert rows["eligible.editing_neighbors"] == ">= 0, <= 9"
    assert rows["stop.epsilon"] == "> 0"
    assert rows["compute.deterministic"] == "`true`, `false`"
