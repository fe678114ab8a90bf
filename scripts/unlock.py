"""Take away the lock of a killed run, unless something of that run is still alive here."""

import os
import subprocess
import sys
from pathlib import Path

import psutil


def alive(folder: Path) -> list[int]:
    """Process ids of Snakemake and its jobs that work in `folder`."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line = " ".join(process.info["cmdline"] or [])
        here = process.info["cwd"] and Path(process.info["cwd"]) == folder
        if here and "snakemake" in line and process.pid not in (os.getpid(), os.getppid()):
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
