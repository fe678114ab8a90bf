"""What Snakemake says before anything runs: the whole plan, or why the configuration is refused."""

import re

import pytest
import yaml

from modeledit.io.files import read_json
from tests.workflow.conftest import copy_project


def job_counts(output: str) -> dict[str, int]:
    """The table of jobs by rule in a dry run's output."""
    table = output[output.index("Job stats:") :]
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def test_dry_run_shows_the_whole_plan(untouched):
    done = untouched.snakemake("--dry-run")
    assert done.returncode == 0, done.stdout
    counts = job_counts(done.stdout)
    config = yaml.safe_load((untouched.folder / "config/config.yaml").read_text())
    trials, methods = config["trials"]["count"], len(config["runs"][0]["methods"])
    assert counts["edit"] == methods * trials * config["stop"]["extended"]
    assert counts["evaluate_run"] == methods * trials
    assert counts["score_unedited"] == counts["find_eligible"] == trials
    assert counts["prepare_model"] == counts["gather_covariance"] == counts["make_contexts"] == 1
    assert counts["total"] == sum(n for name, n in counts.items() if name != "total")
    assert not (untouched.folder / "results").exists()
    assert not (untouched.folder / "resources").exists()


READ = {"targets.safetensors", "edits.parquet"}  # of the iteration before, by one stage alone
TARGETS = {  # what each plans, of the jobs that tell them apart
    "metrics": {"edit", "evaluate_run"},
    "tables": {"edit", "evaluate_run", "render_table"},
    "figures": {"edit", "evaluate_run", "draw_figures"},
    "statistics": {"factorize_covariance"},
    "requests": {"split_trials"},
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_named_target_plans_what_it_needs_and_no_more(untouched, target):
    done = untouched.snakemake("--dry-run", target)
    assert done.returncode == 0, done.stdout
    telling = set().union(*TARGETS.values())
    found = job_counts(done.stdout).keys() & telling
    # whatever is edited or evaluated needs statistics, and these need a model
    expected = TARGETS[target]
    if "edit" in expected:
        expected = expected | {"factorize_covariance", "split_trials"}
    assert found == expected


def test_the_study_of_the_stages_plans_its_jobs(untouched):
    study = ("stage_study", "--configfile", "config/stages.yaml")
    done = untouched.snakemake("--dry-run", *study, "--quiet", "host")  # reasons are read below
    assert done.returncode == 0, done.stdout
    counts = job_counts(done.stdout)
    config = yaml.safe_load((untouched.folder / "config/stages.yaml").read_text())
    methods = config["runs"][0]["methods"]
    assert counts["edit"] == len(methods) * config["stop"]["extended"]
    algorithms = {name.rpartition("_")[2] for name in methods}
    assert counts["draw_stages"] == len(algorithms)
    assert counts["render_table"] == counts["stage_study"] == 1
    assert "draw_neighbor_count" not in counts
    # What iteration 2 reads of iteration 1: the targets too, where one stage is repeated alone.
    for method, more in (("MEMIT", set()), ("SPREAD_MEMIT", READ), ("OPTIMIZATION_MEMIT", READ)):
        folder = f"results/stages/geography-eligible/smollm2-135m/{method}/trial1"
        reason = next(
            line
            for line in done.stdout.splitlines()
            if line.startswith("Reason: Missing output files: ") and f"{folder}/iter2/" in line
        )
        before = set(re.findall(rf"{folder}/iter1/([\w.]+)", reason))
        assert before == {"state.json"} | more


RUN = {"dataset": "geography", "requests": "eligible", "models": ["smollm2-135m"]}
MALFORMED = {"trails": 3, "stop": {"epsilom": 1, "epsilon": -1}, "switches": {"accuracy": "fuzzy"}}
MISFITTING = {
    "trials": {"count": 3, "size": 1000},
    "stop": {"extended": 2},
    "datasets": {"counterfact": {"source": "counterfact", "path": "nowhere.json"}},
    "runs": [
        RUN | {"methods": ["MEMIT", "MEMITT"]},
        RUN | {"models": ["gpt-5"], "methods": ["MEMIT"]},
        RUN | {"dataset": "history", "methods": ["MEMIT"]},
        RUN | {"dataset": "counterfact", "methods": ["MEMIT"]},
        RUN | {"requests": "all", "methods": ["NA_MEMIT"]},
    ],
}
REFUSED = {  # each line that is printed: what is asked for, and words of the way out
    "malformed": (
        MALFORMED,
        [
            ("unknown key trails", "allowed:", "trials"),
            ("stop: unknown key epsilom", "epsilon"),
            ("stop.epsilon", "-1", "greater than 0"),
            ("switches.accuracy", "fuzzy", "exact"),
        ],
    ),
    "misfitting": (
        MISFITTING,
        [
            ("algorithms.MEMIT.layers", "[3, 30]", "layer 30 does not exist", "0..29"),
            ("runs.0.methods", "MEMITT", "allowed: ROME, MEMIT, PMET"),
            ("runs.1.models", "gpt-5", "smollm2-135m"),
            ("runs.2.dataset", "history", "geography"),
            ("datasets.counterfact.path", "nowhere.json", "no such file"),
            ("runs.4.requests", "all", "eligible"),
            ("trials", "3000", "2434", "at most 811"),
            ("stop.extended", "2", "5"),
        ],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_configuration_is_refused_before_any_job(tmp_path, case):
    """All that is wrong with it, as the user sees it; tests/study has every problem singly."""
    values, expected = REFUSED[case]
    project = copy_project(tmp_path / "project")
    model = project.folder / "config/models/smollm2-135m.yaml"
    model.write_text(model.read_text().replace("[3, 4, 5, 6, 7]", "[3, 30]", 1))
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(values))
    done = project.snakemake("--configfile", str(path))
    assert done.returncode != 0
    lines = done.stdout.splitlines()
    for words in expected:
        assert any(all(word in line for word in words) for line in lines), (words, done.stdout)
    assert "Traceback" not in done.stdout
    assert "Job stats" not in done.stdout
    assert not (project.folder / "results").exists()


MINE = f"""
datasets: {{mine: {{source: counterfact, path: %s}}}}
runs: [{RUN | {"dataset": "mine", "requests": "all", "methods": ["MEMIT"]}}]
"""


@pytest.mark.parametrize(
    ("text", "data", "line"),
    [
        ("trials: {size: 2}\ntrials: {count: 2}\n", "", "bad.yaml, line 2: the key 'trials' is in"),
        ("2001-01-01: x\n", "", "config: (top level): unknown key 2001-01-01; allowed: compute,"),
        (MINE, '[{"case_id": 1', "mine.json, line 1, column 15: not JSON: "),
    ],
)
def test_a_bad_file_is_one_line(untouched, tmp_path, text, data, line):
    (tmp_path / "mine.json").write_text(data)
    (tmp_path / "bad.yaml").write_text(text.replace("%s", str(tmp_path / "mine.json")))
    done = untouched.snakemake("-n", "--configfile", str(tmp_path / "bad.yaml"))
    assert done.returncode != 0 and "Traceback" not in done.stdout
    (said,) = [found for found in done.stdout.splitlines() if line in found]
    assert "; " in said


def test_the_plan_says_what_the_papers_matrix_takes_and_what_is_missing(tmp_path):
    project = copy_project(tmp_path / "project")
    done = project.snakemake("plan", "--configfile", "config/paper.yaml", HF_TOKEN="", HF_HOME="x")
    assert done.returncode == 0, done.stdout
    assert "385 edit jobs, 0 of them done" in done.stdout
    plan = read_json(project.folder / "results/paper/plan.json")
    text = (project.folder / "results/paper/plan.txt").read_text(encoding="utf-8")
    assert text in done.stdout and "llama-2-7b" in text
    missing = " ".join(str(line) for line in plan["missing"])
    assert "HF_TOKEN" in missing
    assert sorted(p.name for p in (project.folder / "results/paper").iterdir()) == [
        "plan.json",
        "plan.txt",
    ]
    assert not (project.folder / "resources").exists()


def test_a_folder_with_braces_is_refused_by_name(tmp_path):
    project = copy_project(tmp_path / "a{b}c")
    done = project.snakemake("-n")
    assert done.returncode and f"{project.folder}: Snakemake takes braces" in done.stdout
    assert "rename the folder" in done.stdout and "Traceback" not in done.stdout


def test_a_partial_study_without_anything_to_show_says_so(untouched):
    done = untouched.snakemake("-n", "tables", "--config", "partial=True")
    assert done.returncode and "results/demo: nothing to show yet" in done.stdout
    assert "Traceback" not in done.stdout
