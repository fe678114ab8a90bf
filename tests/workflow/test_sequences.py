"""Batches in sequence by the workflow itself: killed, gone on with, and made longer afterwards.

One study keeps the matrices of all batches and is left alone. Another one, with the same numbers,
keeps the last ones only, starts with fewer batches, and is killed on its way. In the end both must
hold the same bytes.
"""

import os
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from modeledit.evaluation.schemas import RAW_SCORES
from modeledit.io.matrices import describe_matrices
from modeledit.io.state import read_state
from modeledit.study.layout import Layout, Sequence
from tests.workflow.conftest import Project
from tests.workflow.disturbed import Place, copy_of
from tests.workflow.test_plan import job_counts
from tests.workflow.tiny_study import MODEL, NAME, OPTIONS, tiny_project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("sequences")]

SIZE, COUNT = 2, 3
METHODS = {"AlphaEdit": 2, "MEMIT_seq": 1}  # iterations of each
FILES = Layout(NAME)
TARGETS = ("metrics", "sequences")
PATIENCE = 300  # seconds
STEPS = 5  # of OPTIMIZATION
NULL_SPACE = {
    "layers": [1, 2],
    "lr": 0.5,
    "steps": STEPS,
    "clamp": 20,
    "weight_decay": 0.001,
    "kl_factor": 0.0625,
    "null_space": {"kind": "rank", "value": 40},
    "l2": 0.1,
}


def configure(project: Project, count: int, keep: str) -> None:
    """A study of `count` batches by each method, and of a single run by MEMIT."""
    at = {"dataset": "own", "requests": "all", "models": [MODEL]}
    config = {
        "name": NAME,
        "datasets": {"own": {"source": "counterfact", "path": "tmp/facts.json"}},
        "trials": {"count": 1, "size": SIZE * COUNT},
        "text": {"covariance_articles": 4, "covariance_length": 256, "perplexity_texts": 5},
        "runs": [
            {**at, "methods": ["MEMIT"], "iterations": 1},
            *(
                {
                    **at,
                    "methods": [method],
                    "iterations": iterations,
                    "batches": {"size": SIZE, "count": count, "keep": keep},
                }
                for method, iterations in METHODS.items()
            ),
        ],
    }
    (project.folder / f"tmp/{NAME}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def run(project: Project, *arguments: str) -> str:
    """A run to its end: what it said."""
    done = project.snakemake(*TARGETS, *OPTIONS, *arguments, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def folder_of(method: str) -> Path:
    """Of a sequence, below the project."""
    one = Sequence("own", MODEL, method, 1, SIZE, COUNT)
    return Path(FILES.sequence("").format(**one.key._asdict()))


def matrices(project: Project) -> set[str]:
    """Edited matrices of sequences that are on the disk, below results/{name}/sequences/."""
    top = project.folder / FILES.results / "sequences"
    return {
        str(path.parent.relative_to(top).relative_to(f"batches_of_{SIZE}/own/{MODEL}"))
        for path in top.rglob("edited.safetensors")
    }


def same_everywhere(one: Project, other: Project) -> list[str]:
    """Names of files whose bytes were compared and are the same; fails where any are not.

    All that edits and scores leave in both, and the tables that are made of them.
    """
    compared = []
    for path in sorted((one.folder / FILES.results).rglob("*")):
        name = path.relative_to(one.folder / FILES.results)
        twin = other.folder / FILES.results / name
        if path.suffix not in (".safetensors", ".parquet", ".csv", ".json") or not twin.exists():
            continue
        if path.name in ("hardware.json", "hardware.csv"):  # how long it took
            continue
        assert path.read_bytes() == twin.read_bytes(), name
        compared.append(str(name))
    return compared


def times(project: Project) -> dict[Path, int]:
    """When each file of the results was written, in ns."""
    top = project.folder / FILES.results
    return {path: path.stat().st_mtime_ns for path in top.rglob("*") if path.is_file()}


def kill_in(place: Place, method: str, batch: int, k: int) -> None:
    """Start a run, and kill all of it while iteration `k` of a batch of `method` is made."""
    log = place.folder / "logs" / NAME / folder_of(method).relative_to(FILES.results)
    log = log / f"batch{batch}/iter{k}.log"
    process = place.start(*TARGETS)
    deadline = time.monotonic() + PATIENCE
    while not log.exists():
        assert time.monotonic() < deadline and process.poll() is None, place.said()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Project:
    """The study of all batches, left alone; the matrices of all of them stay."""
    project = tiny_project(tmp_path_factory.mktemp("sequences") / "whole")
    path = project.folder / f"config/models/{MODEL}.yaml"
    described = yaml.safe_load(path.read_text())
    described["algorithms"]["AlphaEdit"] = NULL_SPACE
    described["algorithms"]["MEMIT"]["steps"] = STEPS
    path.write_text(yaml.safe_dump(described))
    configure(project, COUNT, "all")
    run(project)
    return project


@pytest.fixture(scope="module")
def disturbed(whole) -> tuple[Place, dict[str, int]]:
    """The same, killed in the middle of its second batch, ended, and then given its third.

    Also the jobs that were planned for the third.
    """
    place = copy_of(whole, whole.folder.parent / "disturbed", finished=True)
    results = place.folder / FILES.results
    for folder in ("sequences", f"own/{MODEL}/MEMIT"):
        shutil.rmtree(results / folder)
    for table in [*results.glob("*.csv")]:
        table.unlink()
    configure(place, COUNT - 1, "last")
    kill_in(place, "AlphaEdit", 2, 2)
    batch = place.folder / folder_of("AlphaEdit") / "batch2"
    assert (batch / "iter1/edited.safetensors").exists() and not (batch / "state.json").exists()
    before = (batch / "iter1/state.json").stat().st_mtime_ns
    assert not place.go_on(*TARGETS)
    assert (batch / "iter1/state.json").stat().st_mtime_ns == before  # was not made again
    assert matrices(place) == {f"{method}/trial1/batch2" for method in METHODS}
    for method in METHODS:  # the last ones of two, which go when there are three
        name = folder_of(method) / "batch2/edited.safetensors"
        assert (place.folder / name).read_bytes() == (whole.folder / name).read_bytes()

    configure(place, COUNT, "last")
    planned, left = job_counts(run(place, "--dry-run")), times(place)
    run(place)
    for path, when in left.items():
        if path.exists() and ("/batch1/" in str(path) or "/batch2/" in str(path)):
            assert path.stat().st_mtime_ns == when, path
    return place, planned


def test_all_batches_are_edited_in_turn_and_scored(whole):
    for method, iterations in METHODS.items():
        folder = whole.folder / folder_of(method)
        batches = pd.read_csv(folder / "batches.csv")
        assert batches["batch"].tolist() == [1, 1, 2, 2, 3, 3]
        for batch in range(1, COUNT + 1):
            own = folder / f"batch{batch}"
            assert read_state(own / "state.json").held_by == iterations
            says = describe_matrices(own / "edited.safetensors", {"method": method}).metadata
            assert (says["batch"], says["k"]) == (f"{batch} of {SIZE}", str(iterations))
            scored = RAW_SCORES.read(own / "scores.parquet")
            edits = scored[scored["kind"] == "edit"]
            assert set(edits["request"]) == set(batches["request"][: batch * SIZE])
            grown = pd.read_csv(own / "norms.csv")
            assert grown["layer"].tolist() == [1, 2] and (grown["change"] > 0).all()


def test_matrices_of_all_batches_stay_where_they_are_to_and_of_no_iteration(whole):
    kept = {f"{method}/trial1/batch{b}" for method in METHODS for b in range(1, COUNT + 1)}
    assert matrices(whole) == kept


def test_what_was_killed_and_made_longer_ends_with_the_same_bytes(whole, disturbed):
    place, _ = disturbed
    compared = same_everywhere(whole, place)
    for method in METHODS:
        folder = str(folder_of(method).relative_to(FILES.results))
        for batch in range(1, COUNT + 1):
            for file in ("scores.parquet", "keys.safetensors", "state.json", "norms.csv"):
                assert f"{folder}/batch{batch}/{file}" in compared
        assert f"{folder}/batch{COUNT}/edited.safetensors" in compared
        assert f"{folder}/metrics.csv" in compared
    run_of = f"own/{MODEL}/MEMIT/trial1/iter1"
    assert {f"{run_of}/edited.safetensors", f"{run_of}/scores.parquet"} <= set(compared)
    assert {"metrics.csv", "sequences.csv"} <= set(compared)


def test_only_the_matrices_after_the_last_batch_stay(disturbed):
    place, _ = disturbed
    assert matrices(place) == {f"{method}/trial1/batch{COUNT}" for method in METHODS}


def test_one_batch_more_edits_that_batch_and_nothing_else(disturbed):
    _, planned = disturbed
    editing = {"edit", "edit_batch", "keep_batch", "keep_last_batch", "score_batch"}
    editing |= {"score_unedited", "find_null_spaces", "gather_covariance", "make_contexts"}
    assert {name: planned[name] for name in editing & planned.keys()} == {
        "edit_batch": sum(METHODS.values()),
        "keep_last_batch": len(METHODS),
        "score_batch": len(METHODS),
    }


def test_nothing_is_left_to_do(disturbed):
    place, _ = disturbed
    assert "Nothing to be done" in run(place, "--dry-run")
