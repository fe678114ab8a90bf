"""The progress of a run on the terminal, from the events that Snakemake logs.

A handler of Python's logging that stands in front of Snakemake's own: on a terminal one line,
written anew all the time, takes the place of what Snakemake says of every job; errors, warnings and
all that it says before and after the jobs still go there in full. Without a terminal Snakemake
says what it always does, with a line of progress now and then. What Snakemake logs of each job is
in .snakemake/log in any case.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable

from modeledit.io.log import ERASE
from modeledit.planning.forecast import Forecast
from modeledit.progress.line import progress_line
from modeledit.progress.watch import Job, Watch

log = logging.getLogger(__name__)

SNAKEMAKES = "DefaultStreamHandler"  # the name of Snakemake's own handler for the terminal
EVERY = 1.0  # seconds between two lines on a terminal
EVERY_PLAIN = 60.0  # and without one
PAUSE = 0.1  # at least between two, where many events come at once
# What is not worth a line on a terminal, by the names of Snakemake's events and the beginnings of
# its messages; and what the line of progress stands for.
SURROUNDINGS = {"workflow_started", "resources_info"}
BEFORE_THE_JOBS = (
    *("Workflow defines that rule", "Assuming unrestricted shared", "Using shell: "),
    *("Conda environments: ignored", "Group jobs: inactive"),
)
EVENTS = {"job_info", "job_started", "job_finished", "group_info", "progress", "run_info"}
MESSAGES = ("Select jobs to execute", "Removing temporary output", "Auto-selected partition")
SUBMITTED = "has been submitted with SLURM jobid"


def show_progress(
    logger: logging.Logger, jobs: Callable[[], Iterable[Job]], forecast: Forecast
) -> None:
    """Have what `logger` is told shown as progress; `jobs` says, once they are known, which there
    are to make. Where Snakemake's own handler is not there, another was asked for, and stays."""
    for handler in list(logger.handlers):
        if handler.name == SNAKEMAKES and isinstance(handler, logging.StreamHandler):
            logger.removeHandler(handler)
            logger.addHandler(ProgressHandler(handler, jobs, forecast))


class ProgressHandler(logging.Handler):
    """Passes records on to `own`, Snakemake's handler, and keeps a line of progress below them."""

    def __init__(
        self,
        own: logging.StreamHandler,
        jobs: Callable[[], Iterable[Job]],
        forecast: Forecast,
    ):
        super().__init__()
        self.own, self.jobs, self.forecast = own, jobs, forecast
        self.stream = own.stream
        self.live = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.watch: Watch | None = None
        self._drawn, self._said = False, time.monotonic()
        self._ended, self._ticker = threading.Event(), threading.Thread(target=self._tick)
        self._ticker.daemon = True

    def emit(self, record: logging.LogRecord) -> None:
        """Take note of an event, and pass on what the line does not stand for."""
        self._try(lambda: self._note(record))
        if not (self.live and self._leaves_out(record)):
            self._erase()
            self.own.handle(record)
        self._try(self._draw)

    def close(self) -> None:
        """Take the line away; Snakemake does this at its end."""
        self._ended.set()
        with self.lock or threading.RLock():
            self.watch = None
            self._erase()
        self.own.close()
        super().close()

    def _note(self, record: logging.LogRecord) -> None:
        now, told = time.monotonic(), vars(record)
        event = told.get("event")
        if event == "run_info":
            jobs = list(self.jobs())
            if len(jobs) < 2:  # a job alone, such as a plan's, may write to the terminal itself
                return
            self.watch = Watch(self.forecast, jobs)
            if not self._ticker.is_alive():
                self._ticker.start()
        elif self.watch is None:
            return
        elif event == "job_info":
            self.watch.start(told["jobid"], told["rule_msg"] or "", now)
        elif event == "job_finished":
            self.watch.finish(told["job_id"], now)
        elif event == "job_error":
            self.watch.fail(told["jobid"])

    def _leaves_out(self, record: logging.LogRecord) -> bool:
        """Whether a record is not for the terminal; all are in the log of the run."""
        event, said = getattr(record, "event", None), record.getMessage()
        if event in SURROUNDINGS or said.startswith(BEFORE_THE_JOBS):
            return True
        if record.levelno > logging.INFO or self.watch is None:
            return False
        return event in EVENTS or said.startswith(MESSAGES) or SUBMITTED in said

    def _tick(self) -> None:
        while not self._ended.wait(EVERY):
            with self.lock or threading.RLock():
                self._try(self._look)
                self._try(self._draw)

    def _look(self) -> None:
        if self.watch:
            self.watch.look(time.monotonic())

    def _try(self, step: Callable[[], None]) -> None:
        """Take a step; a line of progress that fails must not end a run, and is given up."""
        try:
            step()
        except Exception:
            self.watch = None
            self._erase()
            log.exception("No line of progress from here on")

    def _draw(self) -> None:
        """The line as it is now, while there are jobs to speak of."""
        now = time.monotonic()
        if self.watch is None or not self.watch.going:
            self._erase()
            return
        if now - self._said < (PAUSE if self._drawn else 0.0 if self.live else EVERY_PLAIN):
            return
        self._said = now
        if self.live:
            width = os.get_terminal_size(self.stream.fileno()).columns or 80
            self.stream.write(ERASE + progress_line(self.watch, now, width - 1))
            self._drawn = True
        else:
            self.stream.write(f"{progress_line(self.watch, now)}\n")
        self.stream.flush()

    def _erase(self) -> None:
        if self._drawn:
            self.stream.write(ERASE)
            self.stream.flush()
        self._drawn = False
