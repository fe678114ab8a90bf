"""The library as a package: what `pip install .` puts there is whole."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
USE = """
from pathlib import Path
import modeledit
from modeledit.paper.published import read_hardware, read_tables
from modeledit.presentation.figures.style import STYLE
from modeledit.study.methods import METHODS
print(Path(modeledit.__file__).parents[1], len(read_tables()), len(read_hardware()), STYLE.exists())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of a copy of the project."""
    copy = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", "modeledit", "envs"):
        take = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        take(ROOT / name, copy / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "-w", copy / "made", copy],
        check=True,
        capture_output=True,
    )
    (made,) = (copy / "made").glob("*.whl")
    return made


def test_the_wheel_holds_every_file_of_the_library(wheel):
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "modeledit").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (name for name in names if name.endswith("METADATA"))
        needs = archive.read(metadata).decode()
    assert ours == {name for name in names if name.startswith("modeledit/")}
    assert "Requires-Dist: torch==" in needs


def test_the_library_works_away_from_the_project(wheel, tmp_path):
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    place, tables, hardware, style = done.stdout.split()
    assert place == str(tmp_path / "site") and style == "True"
    assert int(tables) > 100 and int(hardware) > 2
