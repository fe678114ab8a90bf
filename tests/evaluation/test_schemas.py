"""Tables have the columns that are said, in their types, or the file and the way out are named."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modeledit.evaluation.metrics import METRICS, REQUEST_METRICS, RUN
from modeledit.evaluation.schemas import (
    EDITS,
    RAW_SCORES,
    REQUEST_VALUES,
    RUN_METRICS,
    SchemaError,
)
from tests.tables import edits_of

ROOT = Path(__file__).parents[2]


def test_metrics_are_the_columns_of_metrics_csv():
    assert RUN_METRICS.names == (*RUN, "k", "n_requests", *METRICS)
    assert REQUEST_VALUES.names == ("request", *REQUEST_METRICS, "k")


def test_a_frame_is_written_in_the_types_of_its_columns(tmp_path):
    path = tmp_path / "edits.parquet"
    edits = edits_of([4, 5], p_hat=[2.0, np.inf], neighbors="a | b")
    EDITS.write(path, edits.astype({"loss": np.float32, "steps": np.int16}))
    assert pq.read_schema(path).equals(EDITS.columns)
    back = EDITS.read(path)
    pd.testing.assert_frame_equal(back, edits)
    some = EDITS.read(path, ("p_hat", "request"), [("request", "in", [5])])
    assert some.to_dict("list") == {"p_hat": [np.inf], "request": [5]}


@pytest.mark.parametrize("schema", [RAW_SCORES, EDITS, REQUEST_VALUES])
def test_what_has_no_rows_has_all_columns(tmp_path, schema):
    pq.write_table(schema.columns.empty_table(), tmp_path / "empty.parquet")
    frame = schema.read(tmp_path / "empty.parquet")
    assert frame.empty and tuple(frame.columns) == schema.names


def test_missing_columns_are_named_with_the_file_and_the_way_out(tmp_path):
    path = tmp_path / "edits.parquet"
    edits_of([1]).drop(columns=["p_hat", "steps"]).to_parquet(path)
    with pytest.raises(SchemaError) as caught:
        EDITS.read(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: missing columns ['steps', 'p_hat'] of edits.parquet, it has ")
    assert "stop_reason" in said and said.endswith("delete the file to compute it again")
    assert EDITS.read(path, ["p_bar"])["p_bar"].tolist() == [1.0]  # what is there may be asked for


def test_every_column_of_another_kind_is_named(tmp_path):
    path = tmp_path / "scores.parquet"
    pq.write_table(
        pa.table({"request": ["1"], "logprobs": [["a"]], "ranks": [1], "kind": ["edit"]}), path
    )
    with pytest.raises(SchemaError) as caught:
        RAW_SCORES.read(path, ("request", "kind", "logprobs", "ranks"))
    said = str(caught.value)
    for words in (
        f"{path}: request is string, not int64;",
        "logprobs is list<element: string>, not list<item: float>;",
        "ranks is int64, not list<item: int32>;",
    ):
        assert words in said
    assert "kind" not in said


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([[1, 2]], "token_ids"),  # of int64, as pandas writes them
        ([np.array([], dtype=np.int64)], "argmax"),
        ([None], "top"),  # nothing but missing values
        ([3], "index"),
    ],
)
def test_other_widths_of_the_same_kind_will_do(tmp_path, values, name):
    path = tmp_path / "scores.parquet"
    pd.DataFrame({name: values}).to_parquet(path)
    assert len(RAW_SCORES.read(path, [name])) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(more=1), r"edits.parquet: unknown columns \['more'\]"),
        (lambda f: f.drop(columns="kl"), r"edits.parquet: missing columns \['kl'\]"),
        (lambda f: f.assign(kl="a"), "edits.parquet: kl is .*string, not double"),
    ],
)
def test_no_other_table_is_written(tmp_path, change, message):
    with pytest.raises(SchemaError, match=message):
        EDITS.write(tmp_path / "edits.parquet", change(edits_of([1])))
    assert not list(tmp_path.iterdir())


def metrics_csv(path, **changes):
    row = dict.fromkeys(RUN_METRICS.names, 1) | {"dataset": "d", "model": "NA", "method": "MEMIT"}
    pd.DataFrame([row | changes]).to_csv(path, index=False)
    return path


def test_a_csv_file_comes_back_in_its_types(tmp_path):
    frame = RUN_METRICS.read_csv(metrics_csv(tmp_path / "metrics.csv", dp2=None, p_hat="inf"))
    assert frame["model"].tolist() == ["NA"]
    assert frame["p_hat"].tolist() == [np.inf] and np.isnan(frame["dp2"]).all()
    assert frame["trial"].dtype == frame["k"].dtype == np.int64
    assert all(frame[name].dtype == np.float64 for name in METRICS)


@pytest.mark.parametrize(("name", "value"), [("k", 1.5), ("trial", None), ("dp", "a"), ("k", "b")])
def test_a_bad_value_in_a_csv_file_names_file_and_column(tmp_path, name, value):
    path = metrics_csv(tmp_path / "metrics.csv", **{name: value})
    with pytest.raises(SchemaError, match=rf"metrics.csv: {name} is .*, not .*delete the file"):
        RUN_METRICS.read_csv(path)


def test_a_column_that_a_csv_file_lacks_is_named(tmp_path):
    path = tmp_path / "metrics.csv"
    pd.DataFrame({"k": [1]}).to_csv(path, index=False)
    with pytest.raises(SchemaError, match=r"metrics.csv: missing columns \['dataset', "):
        RUN_METRICS.read_csv(path)


def test_columns_are_known_without_torch():
    code = "import sys, modeledit.evaluation.schemas; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
