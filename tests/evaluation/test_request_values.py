"""Values and logs of a method's trials, by the places of their files."""

import pytest

from modeledit.evaluation.request_values import logs_by_trial, values_by_trial
from modeledit.evaluation.schemas import EDITS, REQUEST_VALUES, SchemaError
from modeledit.study.layout import IterationFiles
from tests.tables import edits_of, values_of


def test_values_are_by_trial_and_iteration_without_the_unedited(tmp_path):
    paths = [tmp_path / f"d/m/MEMIT/trial{t}/request_metrics.parquet" for t in (2, 1)]
    for path, last in zip(paths, (1, 2), strict=True):
        REQUEST_VALUES.write(path, values_of([7, 8], ks=range(last + 1)))
    found = values_by_trial(paths)
    assert {trial: sorted(ks) for trial, ks in found.items()} == {2: [1], 1: [1, 2]}
    assert found[1][2]["request"].tolist() == [7, 8]
    assert set(found[1][2]["k"]) == {2}


def test_logs_are_of_iterations_that_edited(tmp_path):
    paths = []
    for trial, edited in ((1, 2), (2, 1)):
        for k in (1, 2, 3):
            files = IterationFiles.of(tmp_path / f"d/m/MEMIT/trial{trial}", k)
            EDITS.write(files.edits, edits_of([7] if k <= edited else [], p_hat=float(k)))
            paths.append(files.edits)
    found = logs_by_trial(paths)
    assert {trial: sorted(ks) for trial, ks in found.items()} == {1: [1, 2], 2: [1]}
    assert found[1][2]["p_hat"].tolist() == [2.0]


def test_a_file_without_a_column_is_named(tmp_path):
    path = tmp_path / "d/m/MEMIT/trial1/request_metrics.parquet"
    path.parent.mkdir(parents=True)
    values_of([7], ks=[1]).drop(columns="gen_succ").to_parquet(path)
    with pytest.raises(SchemaError, match=r"trial1/request_metrics.*\['gen_succ'\]"):
        values_by_trial([path])
