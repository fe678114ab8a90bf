"""Scripts are functions that can be called by hand; a rule only binds its files to one."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
RULES = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
MOST_PARAMETERS = 7


def functions(name):
    """The functions that a script defines itself."""
    module = importlib.import_module(f"scripts.{name}")
    found = inspect.getmembers(module, inspect.isfunction)
    return [function for _, function in found if function.__module__ == module.__name__]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_a_typed_function_with_a_docstring(name):
    main = {function.__name__: function for function in functions(name)}[name]
    for function in functions(name):
        signature = inspect.signature(function)
        assert inspect.getdoc(function), function.__name__
        assert len(signature.parameters) <= MOST_PARAMETERS
        for parameter in signature.parameters.values():
            assert parameter.annotation is not parameter.empty, parameter
    assert inspect.signature(main).return_annotation is None


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != "unlock"])
def test_only_the_binding_knows_the_workflow(name):
    tree = ast.parse((ROOT / "scripts" / f"{name}.py").read_text())
    binding = tree.body[-1]
    assert isinstance(binding, ast.If) and ast.unparse(binding.test) == "__name__ == '__main__'"
    for part in tree.body[:-1]:
        assert "snakemake" not in {n.id for n in ast.walk(part) if isinstance(n, ast.Name)}
    branches = (ast.If, ast.For, ast.While, ast.Try)
    assert not [n for part in binding.body for n in ast.walk(part) if isinstance(n, branches)]


def test_every_script_has_a_rule_and_every_rule_its_script():
    named = set(re.findall(r"scripts/(\w+)\.py", RULES))
    assert named == set(SCRIPTS) - {"unlock"}


@pytest.mark.parametrize(
    ("names", "heavy"),
    [
        ("edit", "torch"),  # an iteration that passes a stop on
        ("factorize_covariance", "transformers"),
        ("gather_covariance", "gensim"),
        ("render_table render_hardware render_report compile_tables", "matplotlib scipy"),
    ],
)
def test_what_a_job_does_without_is_not_imported(names, heavy):
    scripts = ", ".join(f"scripts.{name}" for name in names.split())
    code = f"import sys, {scripts}; sys.exit(not {set(heavy.split())}.isdisjoint(sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


FIRST = "import modeledit.lm.libraries"


def test_what_runs_a_model_imports_its_libraries_first():
    sources = {name: (ROOT / "scripts" / f"{name}.py").read_text() for name in SCRIPTS}
    running = {name for name, text in sources.items() if "load_model" in text}
    for name in running | {"prepare_model", "export_model"}:
        own = [line for line in sources[name].splitlines() if re.match("(import|from) model", line)]
        assert own[0].startswith(FIRST), name
    edit = sources["edit"]
    assert edit.index(FIRST) < edit.index("from modeledit.editing.job")


def test_libraries_are_imported_with_the_collector_at_rest():
    code = (
        "import gc, scripts.find_eligible; at_rest, all = gc.get_freeze_count(), "
        "len(gc.get_objects())\nassert at_rest > all and gc.isenabled(), (at_rest, all)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# A model's folder and a published file have their own records, a plan is no result, and Snakemake
# takes the word on access away.
WITHOUT_SEALS = {"prepare_model", "download", "make_plan", "check_access", "unlock"}


def test_every_job_checks_what_it_reads_and_seals_what_it_leaves():
    sources = {name: (ROOT / "scripts" / f"{name}.py").read_text() for name in SCRIPTS}
    assert {n for n, text in sources.items() if ", sealed(snakemake.input, " not in text} == (
        WITHOUT_SEALS
    )
