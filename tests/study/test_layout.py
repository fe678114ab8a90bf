"""Paths of a study, there and back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledit.study.layout import ITERATION, RUN, RunKey, iteration_folder, iteration_of

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True)
keys = st.builds(RunKey, names, names, names, st.integers(1, 99))


@given(key=keys, k=st.integers(1, 99), below=st.sampled_from(["", "edits.parquet", "a/b.json"]))
def test_a_path_leads_back_to_its_run(key, k, below):
    run = Path("results/demo") / str(key)
    assert run == Path("results/demo") / RUN.format(**key._asdict())
    assert RunKey.of(run) == RunKey.of(run / "metrics.csv") == key
    folder = iteration_folder(run, k)
    assert folder == Path("results/demo") / ITERATION.format(**key._asdict(), k=k)
    assert iteration_of(folder / below) == (key, k)
    assert RunKey.of(folder / below) == key


@pytest.mark.parametrize("path", ["trial1", "a/b/trial1", "a/b/c/trials", "a/b/c/trial1x/iter1"])
def test_what_belongs_to_no_run_is_refused(path):
    with pytest.raises(ValueError, match="must hold <dataset>/<model>/<method>/trial<t>"):
        RunKey.of(Path(path))


def test_a_run_is_no_iteration():
    with pytest.raises(ValueError, match="trial<t>/iter<k>"):
        iteration_of(Path("a/b/c/trial1/metrics.csv"))
