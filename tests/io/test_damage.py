"""Broken files are named with the way out; permissions and leftovers of what is written."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from modeledit.io import files
from modeledit.io.files import FileError, StateError, finished, read_json, read_texts, write_json
from modeledit.io.frames import read_csv, read_parquet, read_table, write_parquet
from modeledit.io.matrices import LazyMatrices, read_matrices, write_matrices

AGAIN = "delete the file to compute it again"


def written(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


# --- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ('{"k": 1,\n "p', "not JSON: Unterminated string.* at line 2, column 2"),
        (b"\0" * 100, "not JSON"),
        (b'{"k": "\xff"}', "byte 0xff at 7 is no UTF-8"),
        ("[1, 2]", r"expected an object, got \[1, 2\]"),
        ("[" * 100_000, "not JSON that can be read"),
        ('{"k": ' + "9" * 5000 + "}", "not JSON that can be read"),
    ],
)
def test_a_broken_json_file_is_named_with_the_way_out(tmp_path, data, message):
    path = written(tmp_path / "state.json", data)
    with pytest.raises(FileError, match=message) as error:
        read_json(path)
    assert str(error.value).startswith(f"{path}: ") and str(error.value).endswith(AGAIN)
    with pytest.raises(FileError, match="; fetch it again$"):
        read_json(path, "fetch it again")


def test_a_file_that_is_not_there_is_another_error(tmp_path):
    for read in (read_json, read_texts, read_csv, read_parquet, read_table):
        with pytest.raises(FileNotFoundError, match="absent"):
            read(tmp_path / "absent")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "the file is empty"),
        ('"a"\n"b', "the last line does not end, it is cut off"),
        ('"a"\n"b"', "the last line does not end, it is cut off"),
        ('"a"\n"b\n', "record 2: not JSON: .* at column 1"),
        ('"a"\n\n', "record 2: not JSON"),
        ('"a"\n5\n', "line 2: expected text, got 5"),
        (b'"\xe4"\n', "no UTF-8"),
    ],
)
def test_broken_texts_are_named_with_the_way_out(tmp_path, data, message):
    path = written(tmp_path / "texts.jsonl", data)
    with pytest.raises(FileError, match=message) as error:
        read_texts(path)
    assert str(path) in str(error.value) and str(error.value).endswith(AGAIN)


def test_texts_may_hold_other_ends_of_lines(tmp_path):
    texts = ["a\u2028b", "c\x85d", "e\rf"]
    lines = "".join(json.dumps(text, ensure_ascii=False) + "\n" for text in texts)
    assert read_texts(written(tmp_path / "texts.jsonl", lines)) == texts


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "not CSV"),
        ("\n\n", "not CSV"),
        ("k,dp\n1,0.5\n2,", None),  # an empty cell is a missing value
        ("k,dp\n1,0.5\n2", "line 3: 1 cells, the header has 2"),
        ("k,dp\n1,0.5,3\n", "not CSV|line 2: 3 cells"),
        ('k,dp\n1,"0.5\n', "not CSV|cells"),
        (b"k,dp\n\xff,1\n", "not CSV"),
        (b"k,dp\n\0\0\0,1\n", "line 2: zero bytes"),
    ],
)
def test_a_broken_csv_file_is_named_with_the_way_out(tmp_path, data, message):
    path = written(tmp_path / "metrics.csv", data)
    if message is None:
        assert read_csv(path)["dp"].isna().tolist() == [False, True]
        return
    with pytest.raises(FileError, match=message) as error:
        read_csv(path)
    assert str(path) in str(error.value) and str(error.value).endswith(AGAIN)
    assert "\n" not in str(error.value)


FRAME = pd.DataFrame(
    {
        "request": np.arange(500),
        "kind": [f"kind {i % 7}" for i in range(500)],
        "logprobs": [[0.5 * i, -1.0] for i in range(500)],
    }
)


def test_parquet_comes_back_as_pandas_would_read_it(tmp_path):
    path = tmp_path / "new" / "scores.parquet"
    write_parquet(path, FRAME)
    FRAME.to_parquet(tmp_path / "plain.parquet", index=False)
    pd.testing.assert_frame_equal(read_parquet(path), pd.read_parquet(tmp_path / "plain.parquet"))
    assert list(read_parquet(path, ["kind"])) == ["kind"]
    table = read_table(path)
    write_parquet(path, table)
    assert read_table(path).equals(table)
    assert [p.name for p in path.parent.iterdir()] == ["scores.parquet"]
    assert read_table(tmp_path / "plain.parquet").num_rows == 500  # a file without checksums


def test_equal_tables_are_equal_files(tmp_path):
    write_parquet(tmp_path / "a", FRAME)
    write_parquet(tmp_path / "b", FRAME)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("read", [read_parquet, read_table])
def test_a_broken_parquet_file_is_named_with_the_way_out(tmp_path, read):
    path = tmp_path / "scores.parquet"
    write_parquet(path, FRAME)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 4
    for data in (b"", whole[:-7], whole[:50], b"PAR1" * 20, bytes(flipped)):
        with pytest.raises(FileError, match="not a whole parquet file") as error:
            read(written(path, data))
        assert str(path) in str(error.value) and str(error.value).endswith(AGAIN)
        assert "\n" not in str(error.value)


def test_a_column_that_is_missing_is_named(tmp_path):
    write_parquet(tmp_path / "edits.parquet", FRAME)
    with pytest.raises(FileError, match="edits.parquet: .*steps"):
        read_parquet(tmp_path / "edits.parquet", ["steps"])


@given(place=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_page_is_never_believed(tmp_path_factory, place, bit):
    path = tmp_path_factory.getbasetemp() / "flip.parquet"
    write_parquet(path, FRAME)
    data = bytearray(path.read_bytes())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    data[int(place * footer)] ^= 1 << bit
    path.write_bytes(data)
    try:
        found = read_parquet(path)
    except FileError:
        return
    pd.testing.assert_frame_equal(found, FRAME)  # a bit of a page's header that says nothing


@given(data=st.binary(max_size=80))
def test_any_bytes_are_read_or_refused_by_name(tmp_path_factory, data):
    path = written(tmp_path_factory.getbasetemp() / "any", data)
    for read in (read_json, read_texts, read_csv, read_parquet):
        try:
            read(path)
        except FileError as error:
            assert str(path) in str(error)
    for read in (read_matrices, lambda p, e: LazyMatrices(p, e, "layer", [0], 1)):
        try:
            read(path, {})
        except StateError as error:
            assert str(path) in str(error)


# --- matrices ----------------------------------------------------------------------------------

MATRICES = {
    "layer1": np.random.default_rng(0).normal(size=(40, 40)),
    "layer2": np.ones((40, 40), np.float32),
    "position": np.array([3, 70]),
    "empty": np.zeros((0, 4)),
    "one": np.array([2.5]),
}


def test_matrices_of_any_shape_come_back(tmp_path):
    write_matrices(tmp_path / "m", MATRICES, {"base": "f00d"})
    found = read_matrices(tmp_path / "m", {"base": "f00d"})
    assert found.keys() == MATRICES.keys()
    for name, array in MATRICES.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert (found[name] == array).all()


def test_a_flipped_bit_in_a_matrix_is_named_and_others_can_be_read(tmp_path):
    path = tmp_path / "factors.safetensors"
    write_matrices(path, MATRICES, {"base": "f00d"})
    data = bytearray(path.read_bytes())
    data[data.index(MATRICES["layer1"].tobytes()) + 1003] ^= 16
    path.write_bytes(data)
    message = f"{path}: layer1 is not what was written there: .*; {AGAIN}"
    with pytest.raises(StateError, match=message):
        read_matrices(path, {})
    lazy = LazyMatrices(path, {"base": "f00d"}, "layer", [1, 2], 40)
    assert (lazy[2] == 1).all()
    with pytest.raises(StateError, match=message):
        lazy[1]


@given(data=st.data())
def test_a_flipped_bit_anywhere_gives_the_right_matrices_or_an_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "flip.safetensors"
    write_matrices(path, MATRICES, {"base": "f00d"})
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        found = read_matrices(path, {"base": "f00d"})
    except StateError as error:
        assert str(path) in str(error)
        return
    assert found.keys() == MATRICES.keys()
    assert all(np.array_equal(found[name], MATRICES[name]) for name in MATRICES)


def test_a_type_or_a_shape_that_was_changed_is_noticed(tmp_path):
    path = tmp_path / "edited.safetensors"
    write_matrices(path, {"wide": np.ones((2, 8))}, {})
    whole = path.read_bytes()
    for was, became in ((b'"F64"', b'"I64"'), (b"[2,8]", b"[8,2]")):
        assert whole.count(was) == 1
        with pytest.raises(StateError, match="wide is not what was written"):
            read_matrices(written(path, whole.replace(was, became)), {})


def test_matrices_that_were_cut_off_are_named(tmp_path):
    path = tmp_path / "edited.safetensors"
    write_matrices(path, MATRICES, {"base": "f00d"})
    whole = path.read_bytes()
    for data in (b"", whole[:4], whole[:300], whole[:-1], whole + b"x"):
        written(path, data)
        for read in (
            lambda: read_matrices(path, {"base": "f00d"}),
            lambda: LazyMatrices(path, {"base": "f00d"}, "layer", [1], 40),
        ):
            with pytest.raises(StateError, match=f"not a whole safetensors file: .*{AGAIN}"):
                read()


def test_a_file_without_digests_is_read_and_one_that_lacks_one_is_not(tmp_path):
    path = tmp_path / "older.safetensors"
    save_file(MATRICES, path, metadata={"base": "f00d"})
    assert (read_matrices(path, {"base": "f00d"})["layer2"] == 1).all()
    save_file(MATRICES, path, metadata={"base": "f00d", "sha256 layer1": "0" * 64})
    with pytest.raises(StateError, match="is not what was written there"):
        read_matrices(path, {})


def test_metadata_may_not_take_the_names_of_digests(tmp_path):
    with pytest.raises(ValueError, match="'sha256 x'"):
        write_matrices(tmp_path / "m", MATRICES, {"sha256 x": "1"})
    assert list(tmp_path.iterdir()) == []


# --- what is written ---------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_files_have_the_permissions_of_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_json(tmp_path / "state.json", {"k": 1})
        write_matrices(tmp_path / "edited.safetensors", MATRICES, {})
        write_parquet(tmp_path / "edits.parquet", FRAME)
        with finished(tmp_path / "text") as temporary:
            temporary.write_text("x")
            temporary.chmod(0o600)  # as a library does that makes its files with tempfile
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert len(modes) == 4 and set(modes.values()) == {0o666 & ~umask}


def test_a_folder_that_a_library_wrote_can_be_shared(tmp_path):
    save_file(MATRICES, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "run.sh").write_text("x")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "inside").mkdir(mode=0o700)
    before = os.umask(0o027)
    try:
        files.share(tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {
        "model.safetensors": 0o640,
        "config.json": 0o640,
        "run.sh": 0o640,
        "inside": 0o700,
    }


def dead_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_killed_writes_left_is_removed_at_the_next_write_of_that_file(tmp_path):
    path, here = tmp_path / "state.json", files._host()
    long_ago = time.time() - files.ABANDONED - 60
    gone, stays = [], []
    for name, age, list_ in [
        (f".state.json.{here}-{dead_process()}.part", None, gone),
        (f".state.json.{here}-{os.getppid()}.part", None, stays),  # at work
        (".state.json.othernode-12.part", None, stays),  # perhaps at work on another machine
        (".state.json.other-node.cluster-12.part", long_ago, gone),
        (".state.json.31.part", long_ago, gone),  # of an earlier version
        (".other.json.othernode-12.part", long_ago, stays),  # another file's
        (".state.json.notes.part", long_ago, stays),
    ]:
        written(tmp_path / name, "half")
        if age:
            os.utime(tmp_path / name, (age, age))
        list_.append(name)
    write_json(path, {"k": 1})
    assert {p.name for p in tmp_path.iterdir()} == {"state.json", *stays}
    assert gone


def test_a_write_that_is_killed_leaves_a_part_that_the_next_one_removes(tmp_path):
    code = (
        "import os, pathlib, signal\n"
        "from modeledit.io.files import finished\n"
        f"with finished(pathlib.Path({str(tmp_path / 'state.json')!r})) as part:\n"
        "    part.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".state.json.") and socket.gethostname()[:5] in left.name
    write_json(tmp_path / "state.json", {"k": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]
