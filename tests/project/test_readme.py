"""README is what docs/write_readme.py makes of the measured numbers, and holds no others."""

import json
import re
import subprocess
import sys
from dataclasses import asdict, replace

import pandas as pd
import pytest

from docs import write_readme
from docs.write_readme import COLUMNS, COMMAND, FIGURES, PERCENT, ROOT
from modeledit.study.config import load_settings, read_yaml

TEMPLATE = (ROOT / "docs/readme.md.j2").read_text("utf-8")
RESULTS = ROOT / "results/demo"
NAMES = (  # what may have a digit in it and is not measured
    r"arXiv:\d{4}\.\d{5}",
    r"Python >= 3\.11",
    r"GPT-2 XL|GPT-J 6B|Llama-2 7B|Llama-3 8B",
    r"SmolLM2-135M(-Instruct)?",
    r"CC BY 4\.0|Apache-2\.0",
    r"`snakemake [^`]*--cores 1[^`]*`",
    r"k = 1|readme\.md\.j2",
)


@pytest.fixture(scope="module")
def measured():
    return write_readme.read_measured()


def numbers(text):
    """The lines of a template with a digit outside of what is filled in and of NAMES."""
    fixed = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", text, flags=re.DOTALL)
    for name in NAMES:
        fixed = re.sub(name, "", fixed)
    return [line for line in fixed.splitlines() if re.search(r"\d", line)]


def test_pages_are_not_stale(measured):
    for page, text in write_readme.pages(measured).items():
        assert page.read_text("utf-8") == text, f"{page.name} is stale: run {COMMAND}"


def test_no_number_is_written_by_hand():
    assert numbers(TEMPLATE) == [], "put it into docs/measured/ and fill it in"
    assert numbers("On GPT-2 XL, k = 1\n{{ 5 }} of 8\n`make` 3") == [" of 8", "`make` 3"]


def test_readme_is_short():
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    long = [line for line in lines if len(line) > 120]
    assert len(lines) <= 120
    assert len(long) <= 1 and all(line.startswith("|") for line in long), long


def test_a_number_that_changes_changes_readme(measured):
    commands = [replace(taken, time="7:07", tests="98765") for taken in measured.commands]
    text = write_readme.readme(replace(measured, commands=commands))
    assert text.count("7:07 minutes") == 2 and "98,765 tests" in text


def test_a_claim_that_does_not_hold_is_not_written(measured):
    row = {"comparison": "iteration", "a": "MEMIT", "metric": "gen_acc"}
    turned = measured.demo.differences.copy()
    at = (turned[list(row)] == pd.Series(row)).all(axis=1)
    assert at.sum() == 1
    turned.loc[at, "difference"] *= -1
    with pytest.raises(ValueError, match="differences.csv does not say it of .*gen_acc"):
        write_readme.readme(replace(measured, demo=replace(measured.demo, differences=turned)))


def test_values_are_means_over_trials_at_the_own_stop(measured):
    """By hand from metrics.csv: each run's first iteration with dp <= 1, else its last."""
    rows = measured.demo.metrics
    for method, made in measured.demo.methods.items():
        own = []
        for _, run in rows[(rows["method"] == method) & (rows["k"] > 0)].groupby("trial"):
            met = run[run["dp"] <= 1]
            own.append((met if len(met) else run[::-1]).iloc[0])
        for column in PERCENT:
            assert made.stop.values[column] == pytest.approx(
                sum(row[column] for row in own) / len(own)
            )
    assert measured.demo.edits == rows.drop_duplicates("trial")["n_requests"].sum()


def why_not_comparable():
    """Why results/demo cannot be compared with README; "" where it can."""
    if not (RESULTS / "differences.csv").is_file():
        return "no finished default run in results/demo"
    default = load_settings(read_yaml(ROOT / "config/config.yaml", "the default"), ROOT, len).config
    here = json.loads(json.dumps(asdict(default)))
    ran = read_yaml(RESULTS / "config.yaml", "results/demo/config.yaml")["config"]
    differ = [
        key for key in here if key not in ("compute", "offline") and ran.get(key) != here[key]
    ]
    return f"results/demo is of another configuration: {differ}" if differ else ""


def test_readme_is_of_the_run_in_the_results(measured):
    """Rounding on another CPU may turn an edit of 64, and moves perplexities a little."""
    if reason := why_not_comparable():
        pytest.skip(reason)
    found = write_readme.read_demo(RESULTS / "metrics.csv", RESULTS / "differences.csv")
    assert found.methods.keys() == measured.demo.methods.keys()
    for name, here in found.methods.items():
        there = measured.demo.methods[name]
        for column in COLUMNS:
            near = {"abs": 0.025} if column in PERCENT else {"rel": 0.1, "abs": 0.1}
            for row, written in ((here.first, there.first), (here.stop, there.stop)):
                assert written.values[column] == pytest.approx(row.values[column], **near), (
                    f"{name}, {column}: run {COMMAND} results/demo"
                )


def test_only_paragraphs_are_filled():
    text = (
        "# A long heading " + "h" * 120 + "\n\nOne\ntwo `a b`\n\n```\nleft   as\nit is\n```\nmore\n"
    )
    heading = text.splitlines()[0]
    filled = f"{heading}\n\nOne two `a b`\n\n```\nleft   as\nit is\n```\nmore\n"
    assert write_readme.wrapped(text) == filled
    (line, *others) = write_readme.wrapped("word " * 50).splitlines()
    assert 115 < len(line) <= 120 and others


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Files of docs/ in a folder of their own."""
    for name in ("METRICS", "DIFFERENCES"):
        monkeypatch.setattr(write_readme, name, tmp_path / f"{name.lower()}.csv")
    monkeypatch.setattr(write_readme, "IMAGES", tmp_path)
    return tmp_path


def run_of(folder):
    """A folder with the files of a finished default run."""
    names = ["metrics.csv", "differences.csv", *(f"figures/{f}.png" for f in FIGURES.values())]
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}")
    return folder


def test_a_run_is_taken(elsewhere, tmp_path):
    write_readme.take(run_of(tmp_path / "run"))
    assert (elsewhere / "metrics.csv").read_text() == "this is metrics.csv"
    for name, figure in FIGURES.items():
        assert (elsewhere / f"{name}.png").read_text() == f"this is figures/{figure}.png"


def test_of_an_unfinished_run_nothing_is_taken(elsewhere, tmp_path):
    run = run_of(tmp_path / "run")
    (run / "differences.csv").unlink()
    with pytest.raises(FileNotFoundError, match="run/differences.csv: not there; .*make demo"):
        write_readme.take(run)
    assert not (elsewhere / "metrics.csv").exists()


def test_the_command_says_what_it_takes_and_what_is_missing(tmp_path):
    command = [sys.executable, str(ROOT / "docs/write_readme.py")]
    asked = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "results/demo" in asked.stdout
    failed = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert failed.returncode == 1 and "metrics.csv" in failed.stderr
    assert "Traceback" not in failed.stderr
