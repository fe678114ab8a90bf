"""A disk that is full, or may not be written to, is said by the name of the file."""

import errno
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from modeledit.io import files
from modeledit.io.files import DiskError, disk_full, write_json, writing

ROOT = Path(__file__).parents[2]
WRITE = """
import resource, sys
from pathlib import Path
import numpy as np, pandas as pd
from modeledit.io import files, frames, matrices
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
numbers = np.random.default_rng(0).normal(size=4000)
for name, write in {
    "state.json": lambda path: files.write_json(path, {"k": numbers.tolist()}),
    "metrics.csv": lambda path: frames.write_csv(path, pd.DataFrame({"k": numbers})),
    "scores.parquet": lambda path: frames.write_parquet(path, pd.DataFrame({"k": numbers})),
    "edited.safetensors": lambda path: matrices.write_matrices(path, {"a": numbers}, {"k": "1"}),
}.items():
    try:
        write(folder / name)
    except files.DiskError as error:
        print(error)
"""


def test_every_writer_names_the_file_that_does_not_fit(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WRITE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    names = ("state.json", "metrics.csv", "scores.parquet", "edited.safetensors")
    assert done.stdout.splitlines() == [
        f"{tmp_path / name}: no space left for it in {tmp_path}; make room there and start the same"
        " command again"
        for name in names
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_folder_that_may_not_be_written_to_is_named(tmp_path, number, monkeypatch):
    def refuse(self, *_, **__):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(DiskError) as error:
        write_json(tmp_path / "state.json", {})
    assert str(error.value) == (
        f"{tmp_path / 'state.json'}: cannot be written ({os.strerror(number)}); let this user write"
        f" to {tmp_path} and start the same command again"
    )


def test_what_cannot_be_read_meanwhile_is_another_error(tmp_path):
    with pytest.raises(PermissionError), writing(tmp_path / "metrics.csv"):
        raise PermissionError(errno.EACCES, "no", "/elsewhere/scores.parquet")
    with pytest.raises(ValueError, match="^a bug$"), writing(tmp_path / "metrics.csv"):
        raise ValueError("a bug")


def test_full_is_full_in_any_words():
    assert disk_full(OSError(errno.EDQUOT, ""))
    assert disk_full(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert not disk_full(OSError(errno.EIO, "broken"))


def test_no_room_for_temporary_files_is_said_before_anything_begins(tmp_path, monkeypatch):
    files.check_scratch()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage(9, 9, 4096))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(DiskError, match=f"TMPDIR {tmp_path}: 0.0 MB free .*set TMPDIR to another"):
        files.check_scratch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    with pytest.raises(DiskError, match="absent"):
        files.check_scratch()
