"""The whole workflow on the real model, cut down to a few requests; what a kill leaves behind."""

import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors import safe_open

from modeledit.data.record_files import count_records
from modeledit.data.requests import read_requests
from modeledit.editing.iteration import EditSettings
from modeledit.editing.optimization import optimize
from modeledit.editing.problem import build_problem
from modeledit.evaluation.metrics import COLUMNS, read_scores, request_metrics
from modeledit.io.files import StateError, read_json
from modeledit.io.matrices import read_matrices
from modeledit.lm.model import load_model
from modeledit.study import memory
from modeledit.study.config import load_settings
from modeledit.study.methods import METHODS
from tests.reference import plain
from tests.reference.test_released_evaluation import compare, published_texts, records
from tests.workflow.conftest import copy_project
from tests.workflow.test_plan import job_counts

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("smoke")]

OUT = "results/smoke"
CHAIN = f"{OUT}/geography-eligible/smollm2-135m"
OPTIONS = ("--configfile", "config/smoke.yaml")


def test_everything_that_was_promised_is_there(smoke):
    out = smoke.folder / OUT
    tables = ("metrics", "picks", "intervals", "differences", "comparison", "claims", "hardware")
    names = [f"{name}.csv" for name in tables]
    for name in (*names, "config.yaml", "provenance.json", "report.html", "tables/tables.tex"):
        assert (out / name).stat().st_size > 0
    for table in ("iterative", "iterative_all", "stopping", "neighbor", "neighbor_all"):
        for ending in ("tex", "csv", "html", "md"):
            assert (out / f"tables/geography-eligible.{table}.{ending}").stat().st_size > 0
    assert r"NA\_MEMIT" in (out / "tables/hardware.tex").read_text()
    assert (out / "figures/algorithms.pdf").read_bytes().startswith(b"%PDF")
    panel = out / "figures/geography-eligible.smollm2-135m.MEMIT.qualitative.png"
    assert panel.read_bytes().startswith(b"\x89PNG")
    for method in ("MEMIT", "NA_MEMIT"):
        for figure in ("perplexity_stages", "underedit"):
            path = out / f"figures/geography-eligible.smollm2-135m.{method}.{figure}.png"
            assert path.read_bytes().startswith(b"\x89PNG")
    status = (out / "tables/compiled.txt").read_text()
    if shutil.which("pdflatex") or shutil.which("tectonic"):
        assert status.startswith("compiled")
        assert (out / "tables/tables.pdf").read_bytes().startswith(b"%PDF")
    else:
        assert status.startswith("skipped")


def test_second_run_has_nothing_to_do(smoke):
    done = smoke.snakemake(*OPTIONS)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout


def test_determinism_asked_for_reruns_a_model_only_where_it_can_change_a_bit(smoke):
    """One CPU thread is deterministic by itself; a GPU is not."""
    path = smoke.folder / "deterministic.yaml"
    path.write_text("compute: {deterministic: true}")
    done = smoke.snakemake(*OPTIONS, str(path), "-n")
    assert done.returncode == 0, done.stdout[-3000:]
    planned = set(re.findall(r"^(\w+) +\d+$", done.stdout, re.MULTILINE))
    assert "total" in planned
    running = {"make_contexts", "gather_covariance", "find_eligible", "score_unedited", "edit"}
    assert planned & running == (running if shutil.which("nvidia-smi") else set())


SHOWN = {"render_table", "compile_tables", "render_report"}
MEASURED = {"evaluate_run", "aggregate", "measure_differences", "compare_published", "check_claims"}
DRAWN = {"draw_figures", "draw_panel", "draw_trajectories"}


@pytest.mark.parametrize(
    ("file", "jobs"),
    [
        ("modeledit/presentation/templates/table.tex.j2", SHOWN),
        (
            "modeledit/presentation/templates/paper.mplstyle",
            DRAWN | {"draw_algorithms", "render_report"},
        ),
        ("modeledit/paper/printed/suspects.yaml", {"compare_published", "render_report"}),
        ("modeledit/presentation/tables.py", SHOWN | {"render_hardware", "gather_hardware"}),
        ("modeledit/evaluation/metrics.py", MEASURED | SHOWN | DRAWN | {"record_provenance"}),
        ("modeledit/editing/spread.py", set()),  # ENGINE_VERSION decides
        ("scripts/edit.py", set()),
        ("scripts/render_table.py", SHOWN),
    ],
)
def test_what_is_edited_is_made_again_and_nothing_else(smoke, file, jobs):
    path = smoke.folder / file
    content, times = path.read_bytes(), path.stat()
    try:
        path.write_bytes(content + b"\n")
        done = smoke.snakemake("--dry-run", "--configfile", "config/smoke.yaml")
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert done.returncode == 0, done.stdout
    planned = job_counts(done.stdout) if "Job stats:" in done.stdout else {}
    assert planned.keys() - {"default", "total"} == jobs


def test_metrics_follow_from_the_scores_alone(smoke):
    metrics = pd.read_csv(smoke.folder / OUT / "metrics.csv")
    assert list(metrics.columns) == list(COLUMNS)
    assert set(metrics["method"]) == {"MEMIT", "NA_MEMIT"}
    unedited = read_scores(smoke.folder / CHAIN / "unedited/trial1/scores.parquet")
    for (method, k), row in metrics.set_index(["method", "k"]).iterrows():
        if k == 0:
            continue
        folder = smoke.folder / CHAIN / method / f"trial1/iter{k}"
        values = request_metrics(read_scores(folder / "scores.parquet"), unedited, "exact", "sum")
        for column in ("eff_acc", "gen_succ", "spec_acc"):
            assert row[column] == pytest.approx(values[column].mean(), abs=1e-12)
        edits = pd.read_parquet(folder / "edits.parquet")
        assert row["dp"] == pytest.approx(abs(edits["p_hat"].mean() - edits["p_bar"].mean()))
        assert read_json(folder / "state.json")["dp"] == pytest.approx(row["dp"])


def test_the_edit_is_real(smoke):
    """One iteration makes most new objects likely, and writes only the edited layers."""
    metrics = pd.read_csv(smoke.folder / OUT / "metrics.csv").set_index(["method", "k"])
    for method in ("MEMIT", "NA_MEMIT"):
        before, after = metrics.loc[(method, 0)], metrics.loc[(method, 1)]
        assert before["eff_acc"] == 0
        assert after["eff_succ"] > before["eff_succ"]
        assert after["p_bar"] < before["p_hat"] / 10
        edited = smoke.folder / CHAIN / method / "trial1/iter1/edited.safetensors"
        with safe_open(edited, framework="numpy") as stream:
            names = sorted(stream.keys())
            assert names == [f"model.layers.{i}.mlp.down_proj.weight" for i in range(3, 8)]
            assert all(np.isfinite(stream.get_tensor(name)).all() for name in names)
            assert stream.metadata()["method"] == method


def test_iterations_after_the_stop_hold_nothing(smoke):
    seen = 0
    for method in ("MEMIT", "NA_MEMIT"):
        states = [
            read_json(smoke.folder / CHAIN / method / f"trial1/iter{k}/state.json")
            for k in (1, 2, 3)
        ]
        stop = next(s["k"] for s in states if s["stopped"])
        for state in states[stop:]:
            seen += 1
            assert state["passed_on"] and state["held_by"] == stop
            folder = smoke.folder / CHAIN / method / f"trial1/iter{state['k']}"
            assert pd.read_parquet(folder / "scores.parquet").empty
            assert (folder / "edited.safetensors").stat().st_size < 1000
    assert seen, "a run must stop before its last iteration"


def test_every_claim_has_a_verdict_and_no_cell_is_set_against_the_paper(smoke):
    claims = pd.read_csv(smoke.folder / OUT / "claims.csv")
    allowed = {"holds", "holds in part", "does not hold", "not run"}
    assert set(claims["verdict"]) <= allowed and claims["evidence"].notna().all()
    here = claims[claims["scope"] == "small model"]
    assert len(here) == claims["id"].nunique() and (here["verdict"] != "not run").any()
    cells = pd.read_csv(smoke.folder / OUT / "comparison.csv")
    assert cells["ours"].isna().all() and len(cells) > 3000


def test_what_jobs_used_is_recorded(smoke):
    used = pd.read_csv(smoke.folder / OUT / "hardware.csv")
    assert set(used["method"]) == {"MEMIT", "NA_MEMIT"} and (used["k"] == 1).any()
    assert (used["seconds"] > 0).all() and (used["peak_host_gb"] > 0.5).all()


def small_files(smoke, target, *keep):
    """A fresh project with the results of the smoke run that match `keep`, older than its code."""
    other = copy_project(target)
    for pattern in keep:
        for path in filter(Path.is_file, (smoke.folder / OUT).glob(pattern)):
            copy = other.folder / OUT / path.relative_to(smoke.folder / OUT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
            os.utime(copy, (1e9, 1e9 + random.Random(str(copy)).random()))
    return other


PARTIAL = ("--config", "partial=True", *OPTIONS)
WITHOUT_TORCH = "raise ImportError('torch must not be needed here')"


def test_tables_figures_and_report_again_without_torch_or_weights(smoke, tmp_path):
    keep = ("config.yaml", "**/*.csv", "**/*.json", "**/*.jsonl", "**/*.parquet")
    other = small_files(smoke, tmp_path / "project", *keep)
    for name in ("tables", "figures"):
        shutil.rmtree(other.folder / OUT / name, ignore_errors=True)
    (tmp_path / "blocked/torch").mkdir(parents=True)
    (tmp_path / "blocked/torch/__init__.py").write_text(WITHOUT_TORCH)
    started = time.monotonic()
    targets = ("tables", "figures", "report")
    blocked = str(tmp_path / "blocked")
    done = other.snakemake(*targets, *PARTIAL, PYTHONPATH=blocked)
    assert done.returncode == 0, done.stdout[-3000:]
    print(f"tables, figures and report: {time.monotonic() - started:.0f} s")
    assert "Sampling" not in done.stdout and "iteration 1 on" not in done.stdout
    for name in ("report.html", "tables/geography-eligible.neighbor.html"):
        assert (other.folder / OUT / name).stat().st_size > 1000
    for name in (
        "tables/geography-eligible.neighbor.tex",
        "tables/geography-eligible.stopping.csv",
    ):
        assert (other.folder / OUT / name).read_bytes() == (smoke.folder / OUT / name).read_bytes()


def test_metrics_alone_give_the_tables_and_a_study_underway_its_part(smoke, tmp_path):
    other = small_files(smoke, tmp_path / "metrics", "metrics.csv")
    done = other.snakemake("tables", *PARTIAL)
    assert done.returncode == 0, done.stdout[-3000:]
    name = "tables/geography-eligible.stopping_all.csv"
    assert (other.folder / OUT / name).read_bytes() == (smoke.folder / OUT / name).read_bytes()
    keep = ("**/*.jsonl", "**/unedited/**/*", "**/MEMIT/trial1/iter1/*", "statistics/**/*.json")
    other = small_files(smoke, tmp_path / "underway", *keep)
    done = other.snakemake("tables", "report", *PARTIAL)
    assert done.returncode == 0, done.stdout[-3000:]
    table = pd.read_csv(other.folder / OUT / "tables/geography-eligible.neighbor.csv")
    assert table["method"].tolist() == ["Unedited", "MEMIT", "NA_MEMIT"]
    assert table["k"].astype(str).tolist()[2] == "--" and math.isnan(table["eff_acc"].iloc[2])
    assert table["eff_acc"].iloc[1] >= 0


def test_an_edited_model_is_exported_and_checked(smoke):
    target = f"{OUT}/export/geography-eligible/smollm2-135m/MEMIT/trial1/iter3"
    done = smoke.snakemake(target, *OPTIONS)
    assert done.returncode == 0, done.stdout[-3000:]
    record = read_json(smoke.folder / target / "edited.json")
    states = [smoke.folder / CHAIN / f"MEMIT/trial1/iter{k}/state.json" for k in (1, 2, 3)]
    assert record["k"] == next(read_json(s)["k"] for s in states if read_json(s)["stopped"])
    model, _ = load_model(smoke.folder / target)
    held = read_matrices(states[record["k"] - 1].parent / "edited.safetensors", {})
    name = model.down_name(3)
    assert np.array_equal(model.down_weight(3).numpy(), held[name])


def test_a_state_of_another_run_is_refused(smoke):
    other = smoke.folder / CHAIN / "NA_MEMIT/trial1/iter1/edited.safetensors"
    with pytest.raises(StateError, match="method is 'NA_MEMIT', this run needs 'MEMIT'"):
        read_matrices(other, {"method": "MEMIT"})


def test_killed_run_resumes_to_the_same_bytes(smoke):
    """SIGKILL to everything in the middle of an iteration, then the same command again."""
    metrics = smoke.folder / OUT / "metrics.csv"
    expected = metrics.read_bytes()
    trial = smoke.folder / CHAIN / "MEMIT/trial1"
    shutil.rmtree(trial)
    metrics.unlink()
    log = smoke.folder / "logs/smoke/geography-eligible/smollm2-135m/MEMIT/trial1/iter1.log"
    log.unlink(missing_ok=True)

    run = subprocess.Popen(
        smoke.command(*OPTIONS),
        cwd=smoke.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (log.exists() and "request" in log.read_text()):  # OPTIMIZATION is under way
        assert time.monotonic() < deadline and run.poll() is None, "the edit never started"
        time.sleep(0.2)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert not (trial / "iter1/state.json").exists()

    unlock = [sys.executable, "scripts/unlock.py"]
    unlocked = subprocess.run(unlock, cwd=smoke.folder, capture_output=True, text=True)
    assert unlocked.returncode == 0, unlocked.stderr
    assert "Taking away the lock" in unlocked.stdout
    done = smoke.snakemake(*OPTIONS)
    assert done.returncode == 0, done.stdout[-3000:]
    assert metrics.read_bytes() == expected


def smoke_settings(smoke):
    """The settings that the smoke run wrote beside its results."""
    written = yaml.safe_load((smoke.folder / OUT / "config.yaml").read_text(encoding="utf-8"))
    return load_settings(written["config"], smoke.folder, count_records)


def measured_peaks(folder, pattern):
    """Peak memory in MB of the jobs whose logs match `pattern`, as their last lines say."""
    lines = [path.read_text().splitlines()[-1] for path in (folder / "logs").rglob(pattern)]
    assert lines, pattern
    return [float(re.search(r"with (\d+) MB of memory at most$", line)[1]) for line in lines]


def test_memory_estimates_hold_the_measured_peaks(smoke):
    """No job takes more than was estimated for it, and no estimate is idle talk."""
    settings = smoke_settings(smoke)
    model, config = settings.models["smollm2-135m"], settings.config
    budget, text = config.compute.token_budget, config.text
    requests, layers = config.trials.size, len(settings.layers("smollm2-135m"))
    contexts = METHODS["MEMIT"].n_contexts
    for pattern, peak in {
        "iter1.log": memory.editing(model, budget, requests, contexts),
        "unedited/trial1.log": memory.scoring(model, budget),
        "covariance.log": memory.gathering(model, layers, text.covariance_length),
        "factors.log": memory.factorizing(model, layers),
    }.items():
        estimate = peak.host_mb(gpu=False)
        for measured in measured_peaks(smoke.folder, pattern):
            assert measured <= estimate <= 3 * measured, (pattern, measured, estimate)
    disk = memory.disk(model, layers, iterations=1)
    prepared = smoke.folder / "resources/models/smollm2-135m/model.safetensors"
    assert 0.8 < prepared.stat().st_size / disk.model < 1.1
    edited = smoke.folder / CHAIN / "MEMIT/trial1/iter1/edited.safetensors"
    assert edited.stat().st_size == pytest.approx(disk.run, rel=0.01)


@pytest.mark.parametrize(
    ("dtype", "tolerance", "n"), [(torch.float32, 1e-3, 2), (torch.float64, 1e-5, 1)]
)
def test_targets_on_the_real_model_equal_the_plain_loop(smoke, dtype, tolerance, n):
    """Requests of the smoke run: the same stop steps, and targets that differ by rounding.

    Float64 tells rounding from mistakes; what is left there are float32 steps inside the model.
    """
    folder = smoke.folder / "resources/models/smollm2-135m"
    model, tokenizer = load_model(folder, dtype=dtype)
    folder = smoke.folder / "results/smoke"
    requests = read_requests(folder / "geography/smollm2-135m/eligible/trial1.jsonl")[:n]
    contexts = read_json(folder / "statistics/smollm2-135m/contexts.json")["templates"]["10x1"]
    settings = smoke_settings(smoke)
    hyper = settings.models["smollm2-135m"].hyperparameters("MEMIT")
    problems = [build_problem(tokenizer, r, contexts, ["{}"], 1) for r in requests]
    how = EditSettings(METHODS["NA_MEMIT"], hyper, settings.switches, "float32", 1024)
    fast = optimize(model, problems, how.targets)
    slow_settings = plain.Settings(
        method="MEMIT",
        layers=list(hyper.layers),
        lr=hyper.lr,
        steps=hyper.steps,
        clamp=hyper.clamp,
        weight_decay=hyper.weight_decay,
        kl_factor=hyper.kl_factor,
        neighbor_weight="sum",
    )
    for i, request in enumerate(requests):
        slow = plain.optimize(
            model.model, tokenizer, request, contexts, slow_settings, request.editing_neighbors
        )
        assert fast.numbers["steps"][i] == slow.steps
        assert fast.stop_reason[i] == slow.stop_reason
        assert (fast.state[i] - slow.target).norm() / slow.target.norm() < tolerance
        assert fast.numbers["p_bar"][i] == pytest.approx(slow.p_bar, rel=tolerance)


@pytest.mark.parametrize("dataset", ["counterfact", "zsre"])
def test_the_real_model_has_the_released_metrics(smoke, dataset):
    """Under `published`, before and after a change of the weights; zsRE has empty answers."""
    requests = records(dataset, n=6, longest=10_000)
    model, tokenizer = load_model(smoke.folder / "resources/models/smollm2-135m")
    found = compare(model, tokenizer, requests, published_texts()[:3], size=0.05)
    print(found.theirs.T)
    assert dataset == "counterfact" or any(not text for text in found.own.values())
    assert 0 < found.theirs["spec_acc"][0] < 1
