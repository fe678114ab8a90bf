"""Take away the lock of a killed run, unless something of that run is still alive here."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

PYTHON = re.compile(r"(python|pypy)[\d.]*")


def is_of_snakemake(command: Sequence[str]) -> bool:
    """Whether a command line is Python running Snakemake, or a job's script that it wrote.

    An editor, a `tail -f` of a log or a script that calls Snakemake only hold the word.
    """
    if not command or not PYTHON.fullmatch(Path(command[0]).name):
        return False
    rest = iter(command[1:])
    for argument in rest:
        if argument.startswith("-m"):
            module = argument.removeprefix("-m") or next(rest, "")
            return module.partition(".")[0] == "snakemake"
        if argument.startswith("-c"):
            return False
        if argument in ("-W", "-X"):
            next(rest, None)
        elif not argument.startswith("-"):
            script = Path(argument)
            return script.name == "snakemake" or script.parts[-3:-1] == (".snakemake", "scripts")
    return False


def alive(folder: Path) -> list[int]:
    """Process ids of Snakemake and its jobs that work in `folder`."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        here = process.info["cwd"] and Path(process.info["cwd"]) == folder
        if here and is_of_snakemake(process.info["cmdline"] or ()):
            found.append(process.pid)
    return found


def unlock(folder: Path) -> None:
    """Take the lock in `folder` away, if there is one; SystemExit while its run is alive."""
    if not any((folder / ".snakemake/locks").glob("*")):
        return
    if running := alive(folder):
        sys.exit(
            f"A run is still alive in {folder} (process {', '.join(map(str, running))}); "
            "wait for it, or kill it and start again"
        )
    print("Taking away the lock of a run that was killed")
    subprocess.run([sys.executable, "-m", "snakemake", "--unlock"], cwd=folder, check=True)


if __name__ == "__main__":
    unlock(Path.cwd())
