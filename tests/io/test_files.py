"""State on disk: atomic files, digests, matrices with provenance, and passing on after the stop."""

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledit.editing.state import pass_on
from modeledit.evaluation.schemas import EDITS, RAW_SCORES
from modeledit.io.files import (
    StateError,
    digest,
    file_digest,
    finished,
    read_json,
    read_texts,
    write_json,
)
from modeledit.io.frames import write_parquet
from modeledit.io.matrices import LazyMatrices, read_matrices, write_matrices
from modeledit.io.state import read_state, write_state
from modeledit.study.layout import IterationFiles
from tests.editing.tiny_edits import state_of
from tests.tables import edits_of

ROOT = Path(__file__).parents[2]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(), values, max_size=5)


@given(value=objects)
def test_json_comes_back(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "json" / "value.json"  # the folder is made
    write_json(path, value)
    assert read_json(path) == value
    assert [p.name for p in path.parent.iterdir()] == ["value.json"]


def test_json_on_disk_does_not_depend_on_key_order(tmp_path):
    write_json(tmp_path / "a", {"x": 1, "y": [1.5, None]})
    write_json(tmp_path / "b", {"y": [1.5, None], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("before", [None, "as it was"])
def test_an_exception_leaves_nothing_behind(tmp_path, before):
    path = tmp_path / "file.txt"
    if before:
        path.write_text(before)
    with pytest.raises(RuntimeError, match="halfway"), finished(path) as temporary:
        assert temporary.parent == path.parent and temporary != path
        temporary.write_text("half")
        raise RuntimeError("halfway")
    assert [p.read_text() for p in tmp_path.iterdir()] == ([before] if before else [])


def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_target(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("as it was")
    with pytest.raises(FileNotFoundError), finished(path):
        pass
    assert path.read_text() == "as it was"


def test_a_value_that_is_not_json_keeps_the_target(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"k": 1})
    with pytest.raises(TypeError):
        write_json(path, {"k": object()})
    assert read_json(path) == {"k": 1}
    assert len(list(tmp_path.iterdir())) == 1


@given(value=objects, data=st.data())
def test_a_digest_does_not_depend_on_key_order(value, data):
    def shuffled(part):
        if isinstance(part, dict):
            keys = data.draw(st.permutations(list(part)))
            return {key: shuffled(part[key]) for key in keys}
        return [shuffled(p) for p in part] if isinstance(part, list) else part

    assert digest(shuffled(value)) == digest(value)
    assert digest(value | {"one more key": 1}) != digest(value | {"one more key": 2})


def test_a_digest_tells_lists_by_their_order():
    assert digest([1, 2]) != digest([2, 1])


def test_a_file_digest_is_sha256(tmp_path):
    content = np.random.default_rng(0).bytes(100_000)
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@pytest.fixture
def matrices():
    generator = np.random.default_rng(0)
    return {
        "layer3": generator.normal(size=(4, 6)).astype(np.float32),
        "layer4": generator.normal(size=(3, 5)).T,  # float64, not contiguous
    }


def test_matrices_come_back(tmp_path, matrices):
    path = tmp_path / "new" / "edited.safetensors"
    write_matrices(path, matrices, {"base": "abc", "k": "2"})
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    for expected in ({}, {"k": "2"}, {"k": "2", "base": "abc"}):
        found = read_matrices(path, expected)
        assert found.keys() == matrices.keys()
        for name, matrix in matrices.items():
            assert found[name].dtype == matrix.dtype
            np.testing.assert_array_equal(found[name], matrix)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"base": "abc", "k": "3"}, "k is '2', this run needs '3'"),
        ({"method": "MEMIT"}, "method is 'None', this run needs 'MEMIT'"),
    ],
)
def test_matrices_of_another_run_are_refused(tmp_path, matrices, expected, message):
    path = tmp_path / "edited.safetensors"
    write_matrices(path, matrices, {"base": "abc", "k": "2"})
    with pytest.raises(StateError) as error:
        read_matrices(path, expected)
    assert str(error.value) == f"{path}: {message}; delete the file to compute it again"


def test_matrices_that_cannot_be_written_keep_the_target(tmp_path, matrices):
    path = tmp_path / "edited.safetensors"
    write_matrices(path, matrices, {"k": "1"})
    before = path.read_bytes()
    with pytest.raises(Exception, match="metadata"):
        write_matrices(path, matrices, {"k": 2})  # metadata are strings
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_texts_are_one_json_string_a_line(tmp_path):
    texts = ["one\nline", 'Kraków "quoted"', ""]
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(t) + "\n" for t in texts), encoding="utf-8")
    assert read_texts(path) == texts


def test_the_same_content_gives_the_same_bytes(tmp_path):
    matrices = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(3)}
    metadata = {f"key {i}": f'value "ä" {i}' for i in range(20)}
    written = set()
    for i in range(8):
        path = tmp_path / f"{i}.safetensors"
        turned = dict(list(metadata.items())[i:] + list(metadata.items())[:i])
        write_matrices(path, matrices, turned)
        written.add(path.read_bytes())
        found = read_matrices(path, metadata)
        assert all(np.array_equal(found[name], matrices[name]) for name in matrices)
    assert len(written) == 1
    write_matrices(tmp_path / "bare.safetensors", {}, {"held_by": "2"})
    assert read_matrices(tmp_path / "bare.safetensors", {"held_by": "2"}) == {}


@pytest.fixture
def stopped(tmp_path):
    """Iteration 2 of a run that has stopped there."""
    files = IterationFiles.of(tmp_path, 2)
    write_state(files.state, state_of(2, stopped=True, differences=[3.0, 0.5]))
    write_matrices(files.edited, {"layer": np.ones((200, 300), np.float32)}, {"k": "2"})
    write_matrices(files.targets, {"targets": np.ones((200, 300), np.float32)}, {"k": "2"})
    EDITS.write(files.edits, edits_of([4, 5]))
    row = [4, "edit", 0, "new", [1, 2], [-0.5, -1.0], [1, 3], [1, 9], [" a"], [-0.5]]
    columns = {name: [value] for name, value in zip(RAW_SCORES.names, row, strict=True)}
    write_parquet(files.scores, pa.table(columns, schema=RAW_SCORES.columns))
    return tmp_path


def test_passing_on_leaves_small_valid_files_again_and_again(stopped):
    held = IterationFiles.of(stopped, 2)
    previous = held.state
    for k in (3, 4, 5):
        files = IterationFiles.of(stopped, k)
        pass_on(previous, files, scored=True)
        assert sorted(p.name for p in (stopped / f"iter{k}").iterdir()) == sorted(
            path.name for path in vars(files).values()
        )
        assert all(path.stat().st_size < 8000 for path in vars(files).values())
        changed = {"k": k, "passed_on": True}
        assert read_state(files.state) == replace(read_state(held.state), **changed)
        for name in ("edited", "targets"):
            assert read_matrices(getattr(files, name), {"held_by": "2"}) == {}
        for name in ("edits", "scores"):
            assert pq.read_table(getattr(files, name)).num_rows == 0
            schema = pq.read_schema(getattr(files, name))
            assert schema.equals(pq.read_schema(getattr(held, name)))
            expected = pd.read_parquet(getattr(held, name))
            pd.testing.assert_frame_equal(pd.read_parquet(getattr(files, name)), expected.iloc[:0])
        previous = files.state


def test_passing_on_a_second_time_needs_no_large_library(stopped):
    pass_on(stopped / "iter2/state.json", IterationFiles.of(stopped, 3), scored=True)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "import modeledit.editing.link, modeledit.io.log\n"
        "from modeledit.editing.state import pass_on\n"
        "from modeledit.study.layout import IterationFiles\n"
        "run = Path(sys.argv[1])\n"
        "pass_on(run / 'iter3/state.json', IterationFiles.of(run, 4), scored=True)\n"
        "large = {'torch', 'numpy', 'pyarrow', 'pandas', 'pydantic'}\n"
        "sys.exit(', '.join(large & {*sys.modules}) or 0)"
    )
    subprocess.run([sys.executable, "-c", code, str(stopped)], check=True, cwd=ROOT)
    assert read_state(IterationFiles.of(stopped, 4).state).k == 4


def test_lazy_matrices_read_a_layer_when_it_is_asked_for(tmp_path):
    path = tmp_path / "factors.safetensors"
    matrices = {f"layer{i}": np.full((3, 3), float(i)) for i in (1, 4)}
    write_matrices(path, matrices, {"base": "abc"})
    lazy = LazyMatrices(path, {"base": "abc"}, "layer", [1, 4], 3)
    assert list(lazy) == [1, 4] and len(lazy) == 2
    assert lazy[4].dtype == np.float64 and (lazy[4] == 4).all()
    matrices["layer1"][:] = 7
    write_matrices(path, matrices, {"base": "abc"})
    assert (lazy[1] == 7).all()  # nothing was kept in memory


@pytest.mark.parametrize(
    ("base", "layers", "width", "message"),
    [
        ("other", [1], 3, "base is 'abc', this run needs 'other'"),
        ("abc", [1, 2], 3, "no layer2; delete the file"),
        ("abc", [1], 5, r"layer1 has shape \[3, 3\], the model's keys need \[5, 5\]"),
    ],
)
def test_factors_of_another_model_are_refused(tmp_path, base, layers, width, message):
    path = tmp_path / "factors.safetensors"
    write_matrices(path, {"layer1": np.eye(3)}, {"base": "abc"})
    with pytest.raises(StateError, match=message):
        LazyMatrices(path, {"base": base}, "layer", layers, width)
