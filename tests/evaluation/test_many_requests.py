"""What metrics of ten thousand requests after ten iterations may take."""

import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modeledit.evaluation.schemas import EDITS, REQUEST_VALUES
from modeledit.io.frames import write_parquet
from modeledit.study.layout import RunKey
from modeledit.study.stopping import Rule
from scripts.aggregate import aggregate
from scripts.evaluate_run import Inputs, evaluate_run
from scripts.measure_differences import measure_differences
from tests.presets import CORRECTED
from tests.tables import edits_of, scores_of

REQUESTS, ITERATIONS = 10_000, 10
STATUS = Path("/proc/self/status")
GIB = 2**30


def in_gib(field: str) -> float:
    """Memory of this process: VmRSS is what it has, VmHWM the most that it had."""
    return int(STATUS.read_text().partition(f"{field}:")[2].split()[0]) * 1024 / GIB


def write_run(folder: Path) -> Inputs:
    scores, edits = [], []
    for k in range(ITERATIONS + 1):
        scores.append(folder / f"iter{k}" / "scores.parquet")
        scores[-1].parent.mkdir()
        write_parquet(scores[-1], scores_of(REQUESTS, k))
        if k:
            edits.append(scores[-1].with_name("edits.parquet"))
            p = 1 + np.random.default_rng(k).random(REQUESTS)
            EDITS.write(edits[-1], edits_of(range(REQUESTS), p_bar=p, p_hat=p + 5.0 / k**2))
    return Inputs(scores[0], scores[1:], edits)


def evaluate(folder: Path, inputs: Inputs) -> dict[str, float]:
    """All metrics of a run, in a process of its own; the most memory after each step, in GiB."""
    folder = folder / "places" / "tiny" / "MEMIT" / "trial1"
    folder.mkdir(parents=True)
    metrics, requests = folder / "metrics.csv", folder / "request_metrics.parquet"
    evaluate_run(RunKey("places", "tiny", "MEMIT", 1), inputs, CORRECTED, metrics, requests)
    peaks = {"evaluate_run": in_gib("VmHWM")}
    rule = Rule("trial", 1.0)
    aggregate([metrics], rule, folder / "all.csv", folder / "picks.csv")
    peaks["aggregate"] = in_gib("VmHWM")
    around, tested = folder / "intervals.csv", folder / "differences.csv"
    measure_differences(metrics, [requests], rule, "keep", 1, around, tested)
    return peaks | {"measure_differences": in_gib("VmHWM")}


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.is_file(), reason="the system does not tell a process's peak")
def test_metrics_of_many_requests_take_little_memory(tmp_path):
    inputs = write_run(tmp_path)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        peaks = pool.apply(evaluate, (tmp_path, inputs))
    assert peaks["evaluate_run"] < 1 and peaks["measure_differences"] < 1.5, peaks
    folder = tmp_path / "places" / "tiny" / "MEMIT" / "trial1"
    values = REQUEST_VALUES.read(folder / "request_metrics.parquet")
    assert len(values) == REQUESTS * (ITERATIONS + 1)
    rows = pd.read_csv(folder / "metrics.csv")
    assert (rows["n_requests"] == REQUESTS).all() and rows["dp"].iloc[1:].is_monotonic_decreasing
