"""Where a job says what it does: a log file with times, progress with ETA, and its errors."""

import contextlib
import logging
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm


@contextlib.contextmanager
def journal(path: str) -> Iterator[logging.Logger]:
    """Send logging, progress and standard error to the file `path`.

    An exception is logged there in full and goes on to the terminal.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", buffering=1) as stream:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        root = logging.getLogger()
        root.addHandler(handler)
        logging.getLogger("modeledit").setLevel(logging.INFO)
        terminal = sys.stderr
        try:
            with contextlib.redirect_stderr(stream):
                yield logging.getLogger("modeledit")
        except Exception as error:
            traceback.print_exc(file=stream)
            print(f"{type(error).__name__}: {error}", file=terminal)
            raise
        finally:
            root.removeHandler(handler)


def progress(total: int, unit: str) -> tqdm:
    """A progress line with rate and ETA on the current standard error (the log in a job)."""
    return tqdm(total=total, unit=unit, file=sys.stderr, mininterval=5, dynamic_ncols=False)
