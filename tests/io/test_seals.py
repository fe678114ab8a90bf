"""Seals: a file is what its job left, or is refused by name with the way out."""

import shutil
import subprocess

import numpy as np
import pytest

from modeledit.io.files import AGAIN, StateError
from modeledit.io.matrices import write_matrices
from modeledit.io.seals import check_seal, seal, seal_of, sealed


@pytest.fixture
def left(tmp_path):
    """A file that a job left."""
    path = tmp_path / "metrics.csv"
    with sealed([], [path]):
        path.write_text("k,dp\n1,0.25\n2,0.5\n")
    return path


def test_what_a_job_left_is_taken(left):
    check_seal(left)
    with sealed([left], []):
        pass


@pytest.mark.parametrize("text", ["k,dp\n1,0.25\n", "k,dp\n1,0.35\n2,0.5\n", ""])
def test_another_content_is_refused_with_both_ways_out(left, text):
    left.write_text(text)
    with pytest.raises(StateError) as error, sealed([left], []):
        raise AssertionError("the job must not begin")
    said = str(error.value)
    assert said.startswith(f"{left}: not what was written there") and "\n" not in said
    assert AGAIN in said and "delete .metrics.csv.sha256 beside it" in said
    seal_of(left).unlink()
    check_seal(left)


def test_a_file_of_another_run_is_refused(left, tmp_path):
    other = tmp_path / "other" / "metrics.csv"
    other.parent.mkdir()
    with sealed([], [other]):
        other.write_text("k,dp\n1,7\n")
    shutil.copy(other, left)
    with pytest.raises(StateError):
        check_seal(left)


@pytest.mark.parametrize("text", ["", "f00d  metrics.csv\n", "\x00"])
def test_a_seal_that_is_damaged_is_no_seal_of_the_file(left, text):
    seal_of(left).write_text(text)
    with pytest.raises(StateError, match="delete .metrics.csv.sha256"):
        check_seal(left)


def test_a_job_that_fails_leaves_no_seal_of_an_earlier_one(left):
    with pytest.raises(RuntimeError), sealed([], [left]):
        assert not seal_of(left).exists()
        left.write_text("half")
        raise RuntimeError
    assert not seal_of(left).exists()
    check_seal(left)


def test_what_is_not_there_and_folders_have_no_seal(tmp_path):
    (tmp_path / "folder").mkdir()
    with sealed([tmp_path / "absent"], [tmp_path / "folder", tmp_path / "absent"]):
        pass
    assert {p.name for p in tmp_path.iterdir()} == {"folder"}


def test_of_matrices_the_header_is_sealed(tmp_path):
    path, other = tmp_path / "factors.safetensors", tmp_path / "other.safetensors"
    write_matrices(path, {"layer1": np.ones((8, 8))}, {"base": "f00d"})
    write_matrices(other, {"layer1": np.full((8, 8), 2.0)}, {"base": "f00d"})
    seal(path)
    assert seal_of(path).name == ".factors.safetensors.header.sha256"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    check_seal(path)  # the digest of the matrix is another's business
    for damaged in (other.read_bytes(), data[:4], b"", b"\xff" * 8 + data[8:]):
        path.write_bytes(damaged)
        with pytest.raises(StateError, match="not what was written there"):
            check_seal(path)


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum")
def test_other_tools_can_check_seals(left):
    command = ["sha256sum", "--check", "--strict", seal_of(left).name]
    assert subprocess.run(command, cwd=left.parent, capture_output=True).returncode == 0
    left.write_text("x")
    assert subprocess.run(command, cwd=left.parent, capture_output=True).returncode == 1


def test_a_seal_follows_its_file(left):
    seal(left)
    text = seal_of(left).read_text()
    assert text.endswith("  metrics.csv\n") and len(text.split()[0]) == 64
