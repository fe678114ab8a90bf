"""Where a job says what it does: a log file with times, progress with ETA, and its errors; and how
far a job is, as its log tells."""

import contextlib
import logging
import os
import re
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from modeledit.io.files import DiskError, disk_full, one_line, writing
from modeledit.io.refusal import Refusal

ERASE = "\r\x1b[2K"  # takes away a terminal's last line, where it has no end yet
EARLY = 0.2  # of a job, which does not tell yet how long the rest takes
_TAIL = 4096  # bytes at the end of a log in which its progress is looked for
_BAR = re.compile(
    r"(?P<done>[\d.]+[kMGT]?)/(?P<total>[\d.]+[kMGT]?) "
    r"\[(?P<spent>[\d:]+)<(?P<left>[\d:]+|\?), *[\d.?]+[kMGT]?(?:s/(?P<slow>\w+)|(?P<fast>\w+)/s)"
)
_FINISHED = re.compile(r"^[\d-]+ [\d:]+ finished in ([\d.]+) s, ")


@contextlib.contextmanager
def journal(path: str) -> Iterator[logging.Logger]:
    """Send logging, progress and standard error to the file `path`.

    Its last line says how long the job took and how much memory at most. An exception is logged
    there in full and goes on to the terminal; of a refusal, which is nobody's mistake in the code,
    the message alone. Where a disk is full and the error does not say which, DiskError names the
    log and the folder of temporary files.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with _log_file(path) as stream:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        root = logging.getLogger()
        root.addHandler(handler)
        logging.getLogger("modeledit").setLevel(logging.INFO)
        terminal, start = sys.stderr, time.perf_counter()
        try:
            with contextlib.redirect_stderr(stream):
                log = logging.getLogger("modeledit")
                yield log
                seconds, megabytes = time.perf_counter() - start, _peak_memory() / 1e6
                log.info("finished in %.1f s, with %.0f MB of memory at most", seconds, megabytes)
        except Exception as error:
            if disk_full(error) and not isinstance(error, DiskError):
                error = DiskError(
                    f"{path}: no space left for this log, or for temporary files in "
                    f"{tempfile.gettempdir()} ({one_line(error)}); make room there and start the "
                    "same command again"
                )
            line, refused = f"{type(error).__name__}: {error}\n", isinstance(error, Refusal)
            with contextlib.suppress(OSError):  # the log itself may be what has no room
                stream.write(line if refused else traceback.format_exc())
            terminal.write(ERASE + line if terminal.isatty() else line)
            if refused:
                raise SystemExit(1) from error
            raise error
        finally:
            root.removeHandler(handler)


@contextlib.contextmanager
def _log_file(path: str) -> Iterator[TextIO]:
    """A log that is written line by line; a last line that finds no room is lost without a word."""
    with writing(Path(path)):
        stream = open(path, "w", encoding="utf-8", buffering=1)
    try:
        yield stream
    finally:
        with contextlib.suppress(OSError):
            stream.close()


def _peak_memory() -> int:
    """The most bytes that this process has held; Linux says it in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def progress(total: int | None, unit: str) -> tqdm:
    """A progress line with rate and ETA on the current standard error, the log in a job."""
    return tqdm(total=total, unit=unit, file=sys.stderr, mininterval=5, dynamic_ncols=False)


@dataclass(frozen=True)
class Reached:
    """How far a job is, by the progress line that its log ends with.

    `done` and `total` as the line has them, `unit` in the singular ("request"); seconds, those
    that are left None before the first step.
    """

    done: str
    total: str
    unit: str
    spent: float
    left: float | None

    @property
    def likely_left(self) -> float | None:
        """Seconds left, once enough is done to tell: the first requests that end took longer."""
        if self.left is None or self.spent < EARLY * (self.spent + self.left):
            return None
        return self.left


def reached(path: Path) -> Reached | None:
    """How far the job of this log is; None where it is at nothing that is counted."""
    last = _end_of(path).rstrip().replace("\r", "\n").rpartition("\n")[2]
    if not (found := _BAR.search(last)):
        return None
    unit = found["slow"] or found["fast"]
    if unit == "it":  # a library's own line: what it counts is no part of the job that has a name
        return None
    left = None if found["left"] == "?" else _seconds(found["left"])
    return Reached(found["done"], found["total"], unit, _seconds(found["spent"]), left)


def seconds_taken(path: Path) -> float | None:
    """Seconds of the job of this log, as its last line says; None where it did not end well."""
    found = _FINISHED.match(_end_of(path).rstrip().rpartition("\n")[2])
    return float(found[1]) if found else None


def _end_of(path: Path) -> str:
    """The end of a log; nothing where it cannot be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - _TAIL))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _seconds(clock: str) -> float:
    """Seconds of "h:mm:ss" or "mm:ss"."""
    total = 0
    for part in clock.split(":"):
        total = 60 * total + int(part)
    return float(total)
