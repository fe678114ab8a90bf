"""Whose processes keep a lock: Snakemake's own and its jobs', not all that hold the word."""

import subprocess
import sys
import time

import psutil
import pytest

from scripts.unlock import alive, is_of_snakemake, unlock

SLEEP = "import time\ntime.sleep(60)\n"


@pytest.fixture
def folder(tmp_path):
    """A folder with something that is called like Snakemake, and with its lock."""
    for name in ("snakemake.py", "bin/snakemake", ".snakemake/scripts/tmp1.edit.py", "editor.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!{sys.executable}\n{SLEEP}")
        path.chmod(0o755)
    (tmp_path / ".snakemake/locks").mkdir()
    (tmp_path / ".snakemake/locks/0.output.lock").write_text("results/demo\n")
    (tmp_path / ".snakemake/log").mkdir()
    (tmp_path / ".snakemake/log/run.snakemake.log").write_text("")
    (tmp_path / "run_snakemake.sh").write_text("sleep 60\ntrue snakemake\n")
    return tmp_path


@pytest.fixture
def start(folder):
    """Starts a command in the folder and waits until it is what it was asked to be."""
    started = []

    def go(*command):
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
        started.append(process)
        deadline = time.monotonic() + 10
        while command[-1] not in psutil.Process(process.pid).cmdline():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return process.pid

    yield go
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "command",
    [
        (sys.executable, "-m", "snakemake"),
        (sys.executable, "-u", "-W", "ignore", "-m", "snakemake", "--cores", "2"),
        ("bin/snakemake", "--cores", "2"),
        (sys.executable, ".snakemake/scripts/tmp1.edit.py"),
    ],
)
def test_a_run_or_a_job_that_is_alive_keeps_the_lock(folder, start, command):
    pid = start(*command)
    assert alive(folder) == [pid]
    with pytest.raises(SystemExit, match=f"still alive in {folder} .process {pid}.; wait for it"):
        unlock(folder)


@pytest.mark.parametrize(
    "command",
    [
        ("tail", "-f", ".snakemake/log/run.snakemake.log"),
        (sys.executable, "editor.py", "workflow/Snakefile", "snakemake"),
        ("bash", "run_snakemake.sh"),
        ("bash", "-c", "sleep 60; snakemake", "snakemake"),
        (sys.executable, "-c", SLEEP, "-m", "snakemake"),
    ],
)
def test_whoever_looks_on_does_not(folder, start, command):
    start(*command)
    assert alive(folder) == []


def test_a_run_in_another_folder_does_not(folder, start, tmp_path_factory):
    start(sys.executable, "-m", "snakemake")
    assert alive(tmp_path_factory.mktemp("other")) == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ((), False),
        (("python",), False),
        (("python", "-m"), False),
        (("python3.12", "-m", "snakemake.cli"), True),
        (("python", "-msnakemake"), True),
        (("/opt/venv/bin/python", "/opt/venv/bin/snakemake", "--cores", "all"), True),
        (("python", "-m", "pytest", "-k", "snakemake"), False),
        (("python", "-X", "dev", "/p/.snakemake/scripts/tmpa.edit.py"), True),
        (("python", "tests/snakemake/scripts/x.py"), False),
        (("vim", "-m", "snakemake"), False),
        (("grep", "-m", "snakemake"), False),
    ],
)
def test_command_lines(command, expected):
    assert is_of_snakemake(command) == expected
