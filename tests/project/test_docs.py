"""Pages of docs/ name what exists; docs/quirks.md names every quirk of the released code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/quirks.md").read_text("utf-8")
SPEC = (ROOT / "docs/SPEC.md").read_text("utf-8")
SWITCHES = yaml.safe_load((ROOT / "config/presets.yaml").read_text("utf-8"))["corrected"]
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in PAGE.splitlines()
    if re.match(r"\| (I\d+)? ?\|", line) and "the quirk, in short" not in line
]


def test_tables_of_measurements_are_not_stale():
    asked = [sys.executable, "-c", "import gpu_table; print(gpu_table.tables())"]
    said = subprocess.run(
        asked, cwd=ROOT / "benchmarks", capture_output=True, text=True, check=True
    )
    page = (ROOT / "benchmarks/README.md").read_text("utf-8")
    assert said.stdout.strip() in page, "run python benchmarks/gpu_table.py"


def test_every_quirk_of_the_specification_has_its_row():
    specified = re.findall(r"^(I\d+) ", SPEC, re.MULTILINE)
    assert len(specified) == 36
    assert [row[0] for row in ROWS if row[0]] == specified


def test_every_switch_of_a_single_quirk_is_on_the_page():
    named = set(re.findall(r"`(\w+)`", " ".join(row[2] for row in ROWS)))
    # how trials become one score, and whose stop counts: paper and release agree, SPEC F.4 and G.1
    assert set(SWITCHES) - named == {"trial_score", "stop_row"}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] or "also" for row in ROWS])
def test_what_a_row_names_is_there(row):
    _, _, switch, where, test = row
    names = re.findall(r"`(\w+)`", switch)
    assert not switch.startswith("`") or names and set(names) & set(SWITCHES)
    for path in re.findall(r"`([^`]+)`", where):
        assert (ROOT / path).is_file(), path
    if where.startswith("`"):
        path, name = re.fullmatch(r"`([^`]+)::(\w+)`", test).groups()
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE), test
    else:
        assert not where and not test and re.match("none: .", switch)


def test_the_map_names_modules_that_are_there():
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z_/]+\.py)`", page))
    assert len(named) > 20
    assert all((ROOT / "modeledit" / path).is_file() for path in named), named
    packages = re.findall(r"^\| \d \| `(\w+)`", page, re.MULTILINE)
    assert sorted(packages) == sorted(p.parent.name for p in ROOT.glob("modeledit/*/__init__.py"))
