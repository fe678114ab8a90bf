"""What goes to the terminal: Snakemake's events as it logs them, on a terminal and elsewhere."""

import io
import logging
import os
import time

import pytest

from modeledit.progress import terminal
from modeledit.progress.terminal import SNAKEMAKES, show_progress
from modeledit.progress.watch import Job
from tests.progress.test_watch import Made


class Screen(io.StringIO):
    def isatty(self):
        return True

    def fileno(self):
        return 0

    def seen(self):
        """What is on it, line by line: what is erased is gone."""
        lines = self.getvalue().split("\n")
        return [line.rpartition(terminal.ERASE)[2] for line in lines]


@pytest.fixture
def screen(monkeypatch):
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(terminal, "PAUSE", 0.0)
    return Screen()


def attach(stream, name=SNAKEMAKES, numbers=(1, 2)):
    logger = logging.Logger("a run")
    own = logging.StreamHandler(stream)
    own.name = name
    logger.addHandler(own)
    show_progress(
        logger, lambda: [Job(number, "render_table", {}, None) for number in numbers], Made()
    )
    return logger


def event(logger, kind, text=None, level=logging.INFO, **more):
    logger.log(level, text, extra={"event": kind} | more)


def start(logger, number=1):
    event(logger, "run_info", "Job stats:", stats={})
    logger.info("Select jobs to execute...")
    event(logger, "job_started", "Execute 1 jobs...", jobs=[number])
    event(logger, "job_info", "Rule: render_table", jobid=number, rule_msg="Table of everything")


def test_one_line_stands_for_all_that_is_said_of_jobs(screen):
    logger = attach(screen)
    event(logger, "workflow_started", "SNAKEMAKE =====")
    logger.info("Building DAG of jobs...")
    start(logger)
    assert screen.seen() == ["Building DAG of jobs...", "0 of 2 jobs, about 20 s left"]
    event(logger, "job_finished", "Finished jobid: 1", job_id=1)
    event(logger, "progress", done=1, total=2)
    assert screen.seen()[1:] == ["1 of 2 jobs, about 10 s left"]
    event(logger, "job_info", "Rule: render_table", jobid=2, rule_msg="Table of everything")
    event(logger, "job_finished", "Finished jobid: 2", job_id=2)
    assert screen.seen()[1:] == [""]
    logger.info("Complete log(s): run.log")
    logger.handlers[0].close()
    assert screen.seen() == ["Building DAG of jobs...", "Complete log(s): run.log", ""]


def test_many_events_at_once_are_one_line(screen, monkeypatch):
    monkeypatch.setattr(terminal, "PAUSE", 60.0)
    logger = attach(screen, numbers=range(1, 1001))
    start(logger)
    for number in range(2, 1000):
        event(logger, "job_info", "Rule: render_table", jobid=number, rule_msg="")
    logger.handlers[0].close()
    assert screen.getvalue().count(" jobs, ") == 1


def test_errors_are_seen_in_full_above_the_line(screen):
    logger = attach(screen)
    start(logger)
    logger.warning("The disk is slow.")
    error = "Error in rule render_table:\nLogfile t.log:\nRequestError: line 3 has no subject"
    event(logger, "job_error", error, logging.ERROR, jobid=1)
    assert screen.seen() == ["The disk is slow.", *error.split("\n"), ""]


def test_the_line_is_written_anew_while_nothing_is_logged(screen, monkeypatch):
    monkeypatch.setattr(terminal, "EVERY", 0.01)
    logger = attach(screen)
    start(logger)
    before = len(screen.getvalue())
    deadline = time.monotonic() + 10
    while len(screen.getvalue()) < before + 200 and time.monotonic() < deadline:
        time.sleep(0.01)
    logger.handlers[0].close()
    assert len(screen.getvalue()) >= before + 200 and screen.seen()[-1] == ""


def test_without_a_terminal_all_is_said_and_a_plain_line_now_and_then(monkeypatch):
    monkeypatch.setattr(terminal, "EVERY_PLAIN", 0.0)
    stream = io.StringIO()
    logger = attach(stream)
    start(logger)
    said = stream.getvalue()
    assert said.startswith("Job stats:\n") and "\nRule: render_table\n" in said
    assert said.endswith("\n0 of 2 jobs, about 20 s left\n") and "\x1b" not in said
    monkeypatch.setattr(terminal, "EVERY_PLAIN", 60.0)
    event(logger, "job_finished", "Finished jobid: 1", job_id=1)
    assert stream.getvalue() == f"{said}Finished jobid: 1\n"
    logger.handlers[0].close()


def test_a_dumb_terminal_gets_no_control_codes(screen, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    start(logger := attach(screen))
    logger.handlers[0].close()
    assert "\x1b" not in screen.getvalue() and "Job stats:" in screen.getvalue()


def test_a_job_alone_is_left_to_snakemake(screen):
    """A plan is printed by its job."""
    logger = attach(screen, numbers=(1,))
    start(logger)
    assert "Job stats:" in screen.seen() and "Rule: render_table" in screen.seen()
    assert "\x1b" not in screen.getvalue()


def test_another_logger_stays_as_it_is(screen):
    logger = attach(screen, name="of a plugin")
    assert type(logger.handlers[0]) is logging.StreamHandler


def test_a_line_that_fails_ends_no_run(screen, monkeypatch):
    monkeypatch.setattr(terminal, "progress_line", lambda *_: 1 / 0)
    logger = attach(screen)
    start(logger)
    logger.info("on it goes")
    assert screen.seen()[-2:] == ["on it goes", ""]
