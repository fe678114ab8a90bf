"""Runs that are disturbed: killed, without room on a disk, two at once, with clocks that jump.

Whatever happens, the same command goes on afterwards, ends with the bytes of a run that nobody
disturbed, and leaves nothing behind. What is said meanwhile names a file or a job, and the way out.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.workflow.conftest import Project
from tests.workflow.tiny_study import NAME, OPTIONS

KEPT = ("results", "resources")
TIMED = ("hardware", "report.html", "tables.tex", "tables.pdf")  # say how long a job took
PATIENCE = 300  # seconds
METRICS = ("metrics", f"results/{NAME}/tables/own-eligible.iterative.tex")  # half of all jobs


@dataclass(frozen=True)
class Outcome:
    """How one fault ended: what it was, and what is wrong; nothing where all was as promised."""

    kind: str
    fault: str
    wrong: tuple[str, ...] = ()
    said: str = ""


@dataclass
class Place(Project):
    """A project with a folder of its own for temporary files."""

    @property
    def scratch(self) -> Path:
        """What TMPDIR is for its runs."""
        return self.folder / "tmp/scratch"

    def environment(self) -> dict[str, str]:
        """Of its runs."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        return os.environ | {"TMPDIR": str(self.scratch), "OMP_NUM_THREADS": "1"}

    def start(self, *targets: str) -> subprocess.Popen:
        """A run on its way, in a session of its own; what it says is in tmp/said.txt."""
        with (self.folder / "tmp/said.txt").open("w") as said:
            return subprocess.Popen(
                self.command(*targets, *OPTIONS),
                cwd=self.folder,
                stdout=said,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                start_new_session=True,
            )

    def said(self) -> str:
        """What the last run said."""
        return (self.folder / "tmp/said.txt").read_text(errors="replace")

    def end(self, *targets: str) -> int:
        """A run to its end: its exit status."""
        return self.start(*targets).wait()

    def unlock(self) -> subprocess.CompletedProcess:
        """What `make demo` does first."""
        command = [sys.executable, "scripts/unlock.py"]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True)

    def go_on(self, *targets: str) -> list[str]:
        """The documented restart, once nothing of the run is alive; what is wrong with it."""
        deadline = time.monotonic() + PATIENCE
        while (done := self.unlock()).returncode and time.monotonic() < deadline:
            if "still alive" not in done.stderr:
                return [f"the lock stays: {done.stderr.strip()}"]
            time.sleep(0.2)
        return [] if self.end(*targets) == 0 else [f"no resume: {messages(self.said())}"]


def copy_of(project: Project, folder: Path, finished: bool = False) -> Place:
    """A copy of a project, without what was run there, or with it where it is `finished`."""
    left_out = ["logs", "scratch", "recorder", "recorded"]
    left_out += [] if finished else [*KEPT, ".snakemake"]
    shutil.copytree(project.folder, folder, ignore=shutil.ignore_patterns(*left_out))
    return Place(folder)


def messages(said: str) -> list[str]:
    """Lines in which a run says what went wrong."""
    return re.findall(r"^(?:\w+Error|Error|OSError|.*Exception)\b.*$", said, re.MULTILINE)[:5]


def differing(place: Project, whole: Path) -> list[str]:
    """What is not as in a run that nobody disturbed: other bytes, or files that it did not leave.

    `whole` holds that run's results/ and resources/.
    """
    wrong = []
    for part in KEPT:
        for path in sorted((place.folder / part).rglob("*")):
            name = path.relative_to(place.folder)
            if path.is_dir() or path.name == ".snakemake_timestamp":
                continue
            if not (whole / name).exists():
                wrong.append(f"left over: {name}")
            elif any(timed in path.name for timed in TIMED):
                continue
            elif path.read_bytes() != (whole / name).read_bytes():
                wrong.append(f"other bytes: {name}")
    scratch = place.folder / "tmp/scratch"
    if scratch.is_dir():
        # Snakemake's own folders stay where it is killed; no job's do.
        left = [path.name for path in scratch.iterdir() if not path.name.startswith("snakemake")]
        wrong += [f"left over in TMPDIR: {name}" for name in left]
    return wrong


# --- kills ---------------------------------------------------------------------------------------


def _jobs_of(run: subprocess.Popen) -> list[psutil.Process]:
    """Processes of the jobs' scripts that are at work."""
    found = []
    for process in psutil.Process(run.pid).children(recursive=True):
        try:
            if any("/.snakemake/scripts/" in word for word in process.cmdline()[:2]):
                found.append(process)
        except psutil.Error:
            continue
    return found


def _kill_a_job(run: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while run.poll() is None and time.monotonic() < deadline:
        if jobs := _jobs_of(run):
            jobs[0].kill()
            break
        time.sleep(0.05)
    run.wait(PATIENCE)


def _signal(number: signal.Signals, everything: bool) -> Callable[[subprocess.Popen], None]:
    def send(run: subprocess.Popen) -> None:
        os.killpg(run.pid, number) if everything else run.send_signal(number)
        run.wait(PATIENCE)

    return send


KILLS: dict[str, Callable[[subprocess.Popen], None]] = {
    "everything killed": _signal(signal.SIGKILL, True),
    "Snakemake alone killed": _signal(signal.SIGKILL, False),
    "Snakemake told to end": _signal(signal.SIGTERM, False),
    "interrupted (Ctrl-C)": _signal(signal.SIGINT, True),
    "a job killed": _kill_a_job,
}


def killed(place: Place, whole: Path, rng: random.Random, kinds: Sequence[str]) -> list[Outcome]:
    """A run that is killed again and again, at random moments; then it may end."""
    found = []
    for kind in kinds:
        seconds = rng.uniform(2, 12)
        run = place.start(*METRICS)
        time.sleep(seconds)
        if run.poll() is not None:
            found.append(Outcome("kill", f"{kind}: not tried, the run had ended by then"))
            continue
        KILLS[kind](run)
        said, wrong = messages(place.said()), []
        if kind == "a job killed" and "Error in rule" not in place.said():
            wrong.append("no word on the job that was killed")
        unlocked = place.unlock()
        while "still alive" in unlocked.stderr:
            time.sleep(0.2)
            unlocked = place.unlock()
        if unlocked.returncode:
            wrong.append(f"the lock stays: {unlocked.stderr}")
        found.append(Outcome("kill", f"{kind}, after {seconds:.0f} s", tuple(wrong), str(said)))
    wrong = place.go_on(*METRICS) + differing(place, whole)
    found.append(Outcome("kill", "the run after these kills", tuple(wrong)))
    return found


# --- disks ---------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[Callable[[str], None]]:
    """A file system of that size on `folder`; gives what changes its options. Needs root."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={kibibytes}k"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield lambda more: subprocess.run(
            ["mount", "-o", f"remount,{more}", str(folder)], check=True
        )
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def can_mount(folder: Path) -> bool:
    """Whether this user may mount a file system."""
    try:
        with small_disk(folder, 64):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _disk_message(said: str, folder: str) -> tuple[str, ...]:
    """What is wrong with what a run says of a disk that is full or read-only."""
    lines = [line for line in said.splitlines() if folder in line]
    # Snakemake itself is refused by a read-only disk before any job is, and names what it wanted.
    if any("start the same command again" in line or "Read-only" in line for line in lines):
        return ()
    return (f"no message that names a file and the way out: {messages(said)}",)


def full_disk(place: Place, whole: Path, part: str, steps: Sequence[float]) -> list[Outcome]:
    """A disk below results/ or resources/ that is full, and gets a little more room each time."""
    files = [path for path in (whole / part).rglob("*") if path.is_file()]
    size = sum(-(-path.stat().st_size // 4096) * 4 for path in files)  # in whole pages
    disks = {f"{part}/ full, room for {step:.0%}": max(4, int(size * step)) for step in steps}
    found = []
    with small_disk(place.folder / part, 4) as remount:
        for disk, room in disks.items():
            remount(f"rw,size={room}k")
            if place.end() == 0:
                break
            wrong, said = _disk_message(place.said(), part), str(messages(place.said()))
            found.append(Outcome("disk", disk, wrong, said))
            if len(found) == len(steps) // 2:
                remount("ro")
                status, disk = place.end(), f"{part}/ read-only, {disk.partition(', ')[2]}"
                wrong = _disk_message(place.said(), part) if status else ("it ended well",)
                found.append(Outcome("disk", disk, wrong, str(messages(place.said()))))
        remount(f"rw,size={4 * size}k")
        wrong = (*place.go_on(), *differing(place, whole))
        found.append(Outcome("disk", f"{part}/ with room again", wrong))
    return found


def full_scratch(place: Place, whole: Path) -> list[Outcome]:
    """No room at all in TMPDIR, for a whole run."""
    place.environment()
    with small_disk(place.scratch, 4):
        (place.scratch / "full").write_bytes(b"x" * 4096)
        status = place.end()
        said = place.said()
    wrong = [] if status == 0 else list(_disk_message(said, str(place.scratch)))
    wrong += [] if status == 0 else place.go_on()
    how = "ended all the same" if status == 0 else "refused"
    wrong += differing(place, whole)
    return [Outcome("disk", f"TMPDIR full ({how})", tuple(wrong), str(messages(said)))]


# --- two at once, clocks -------------------------------------------------------------------------


def two_at_once(place: Place, whole: Path) -> list[Outcome]:
    """A second run and an unlock while the first one works."""
    first = place.start(*METRICS)
    locks = place.folder / ".snakemake/locks"
    while first.poll() is None and not (locks.is_dir() and any(locks.iterdir())):
        time.sleep(0.1)
    second = subprocess.run(
        place.command(*METRICS, *OPTIONS),
        cwd=place.folder,
        capture_output=True,
        text=True,
        env=place.environment(),
    )
    unlock = place.unlock()
    wrong = []
    if second.returncode == 0 or "cannot be locked" not in second.stderr:
        wrong.append("the second run was not refused")
    if unlock.returncode == 0 or "still alive" not in unlock.stderr:
        wrong.append("the lock of a living run was taken away")
    if first.wait(PATIENCE):
        wrong.append(f"the first run failed: {messages(place.said())}")
    return [Outcome("two at once", "a second run, an unlock", (*wrong, *differing(place, whole)))]


DAY = 86_400.0
CLOCKS: dict[str, tuple[tuple[str, ...], Callable[[random.Random], float]]] = {
    "results in ten years": (KEPT, lambda _: time.time() + 3650 * DAY),
    "results of 1980": (KEPT, lambda _: 10 * 365 * DAY),
    "sources in ten years": (("tmp", "config"), lambda _: time.time() + 3650 * DAY),
    "every file at any time": (
        (*KEPT, "tmp", "config"),
        lambda rng: time.time() + rng.uniform(-3650, 3650) * DAY,
    ),
}


def clocks(place: Place, whole: Path, rng: random.Random, kind: str) -> Outcome:
    """Files of a finished run whose times jump; `place` is finished."""
    parts, moment = CLOCKS[kind]
    for part in parts:
        for path in sorted((place.folder / part).rglob("*")):
            if not path.is_symlink():
                when = moment(rng)
                os.utime(path, (when, when))
    status, skewed = place.end(), "could indicate a clock skew" in place.said()
    wrong = [] if status == 0 else [f"failed: {messages(place.said())}"]
    if status and skewed:
        # Snakemake names both files: an output that is made now cannot be younger than its input.
        kind, wrong = f"{kind}: refused by name, then touched", []
        for part in (*KEPT, "tmp", "config"):
            for path in (place.folder / part).rglob("*"):
                if path.stat().st_mtime > time.time():
                    path.touch()
        wrong = place.go_on()
    done = re.search(r"^total +(\d+)$", place.said(), re.MULTILINE)
    said = f"{done[1] if done else 0} jobs were done again"
    return Outcome("clock", kind, (*wrong, *differing(place, whole)), said)
