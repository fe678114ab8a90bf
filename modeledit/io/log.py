"""Where a job says what it does: a log file with times, progress with ETA, and its errors."""

import contextlib
import logging
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from modeledit.io.files import DiskError, disk_full, one_line, writing
from modeledit.io.refusal import Refusal

ANNOUNCE_EVERY = 10.0  # seconds between progress lines on a terminal
_terminals: list[TextIO] = []  # where journals that are open have taken standard error from


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
        _terminals.append(terminal)
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
            terminal.write(line)
            if refused:
                raise SystemExit(1) from error
            raise error
        finally:
            _terminals.remove(terminal)
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


class Progress(tqdm):
    """A progress line in the log; a terminal gets a copy of it every now and then.

    Several jobs may share a terminal, so there it is a whole line with the job's name.
    """

    def __init__(self, *args: object, title: str = "", **options: object):
        self.title, self.announced = title, time.monotonic()
        super().__init__(*args, **options)

    def display(self, *args: object, **options: object) -> None:
        super().display(*args, **options)
        terminal = _terminals[-1] if _terminals else None
        if terminal is None or not terminal.isatty():
            return
        if time.monotonic() - self.announced >= ANNOUNCE_EVERY:
            self.announced = time.monotonic()
            terminal.write(f"{self.title}: {self}\n")


def progress(total: int | None, unit: str, title: str = "") -> Progress:
    """A progress line with rate and ETA on the current standard error, the log in a job."""
    return Progress(
        total=total, unit=unit, title=title, file=sys.stderr, mininterval=5, dynamic_ncols=False
    )
