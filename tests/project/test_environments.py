"""The conda files hold the pins of the requirements, and what is pinned is installed."""

import importlib.metadata
import os
import re
from pathlib import Path

import pytest
import yaml

ENVS = Path(__file__).parents[2] / "envs"


def pins(lines) -> dict[str, str]:
    """{package: version} of the exact pins among `lines`."""
    return dict(line.strip().split("==") for line in lines if "==" in line and line[0] != "#")


PINNED = {
    package: version
    for name in ("requirements.txt", "harness.txt")
    for package, version in pins((ENVS / name).read_text().splitlines()).items()
}


@pytest.mark.parametrize("path", sorted(ENVS.glob("*.yaml")), ids=lambda path: path.name)
def test_conda_files_agree_with_the_requirements(path):
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    found = pins(next(d["pip"] for d in dependencies if isinstance(d, dict)))
    assert found
    assert found.items() <= PINNED.items()


@pytest.mark.parametrize("package", sorted(PINNED))
def test_what_is_pinned_is_installed(package):
    installed = importlib.metadata.version(package).split("+")[0]  # torch names its build
    assert installed == PINNED[package]


RULES = sorted((ENVS.parent / "workflow/rules").glob("*.smk"))


def test_every_script_but_that_of_make_has_a_rule():
    used = {
        name for rules in RULES for name in re.findall(r"/scripts/(\w+)\.py", rules.read_text())
    }
    assert used == {p.stem for p in (ENVS.parent / "scripts").glob("*.py")} - {"unlock"}


@pytest.mark.parametrize("rules", RULES, ids=lambda path: path.name)
def test_every_rule_with_a_script_names_an_environment_log_and_message(rules):
    named = re.split(r"^ *rule ", rules.read_text(), flags=re.MULTILINE)[1:]  # some are indented
    assert named or rules.name == "common.smk"
    for rule in named:
        if "script:" in rule:
            for field in ("conda", "log", "message"):
                found = re.search(rf"^ +{field}:", rule, flags=re.MULTILINE)
                assert found, f"{rules.name}: rule {rule.split(':')[0]} has no {field}"


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="the tests run in one process")
@pytest.mark.xdist_group("known")
def test_groups_of_tests_are_known_to_the_workers(request):
    """Without them each worker makes the long runs that a group of tests shares."""
    assert request.node.nodeid.endswith("@known")
