"""The workflow as others use it: a module of theirs, another folder, values on the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MODULE = f"""
configfile: "{ROOT}/config/config.yaml"


module editing:
    snakefile:
        "{ROOT}/workflow/Snakefile"
    config:
        config


use rule * from editing as editing_*


rule mine:
    default_target: True
    input:
        rules.editing_metrics.input,
    output:
        "mine.txt",
    shell:
        "wc -l {{input}} > {{output}}"
"""


def run(folder, *arguments):
    """Snakemake in `folder`; what it said."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def test_another_workflow_takes_it_as_a_module(tmp_path):
    (tmp_path / "Snakefile").write_text(MODULE, encoding="utf-8")
    said = run(tmp_path, "-n", "--config", "name=other", "trials={count: 1, size: 2}")
    assert "editing_edit" in said and "mine" in said
    # and a job of it runs, with the module's own scripts, templates and library
    written = "results/other/config.yaml"
    run(tmp_path, "--config", "name=other", "trials={count: 1, size: 2}", "--", written)
    found = yaml.safe_load((tmp_path / written).read_text(encoding="utf-8"))
    assert found["config"]["trials"] == {"count": 1, "size": 2}
    assert found["config"]["name"] == "other"


@pytest.mark.parametrize("arguments", [("-s", "{}/workflow/Snakefile"), ("-s", "{}/Snakefile")])
def test_results_lie_where_it_is_run(tmp_path, arguments):
    """A shared checkout that nobody may write to, and results in a folder of one's own."""
    figure = "results/demo/figures/algorithms.png"
    run(tmp_path, *(part.format(ROOT) for part in arguments), "--", figure)
    assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")


def test_the_directory_option_says_where_results_lie(tmp_path):
    said = run(
        ROOT, "-n", "--directory", str(tmp_path), "--config", "compute={deterministic: true}"
    )
    assert "edit " in said and not list(tmp_path.glob("results"))
