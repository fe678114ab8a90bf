"""What a run has done and how long the rest takes, from events and logs, on a clock of its own."""

import os
from dataclasses import dataclass, field

import pytest

from modeledit.progress.line import progress_line
from modeledit.progress.watch import Job, Watch

ITERATIONS = 5


@dataclass
class Made:
    """A forecast that knows what it is told: 100 s of each iteration, 10 s of other jobs."""

    stops: dict[tuple[str, str], int] = field(default_factory=dict)  # method, trial: iteration

    def computes(self, rule):
        return rule == "edit"

    def seconds(self, rule, names):
        return 100.0 if rule == "edit" else 10.0

    def usual(self, names):
        return ITERATIONS

    def stop_before(self, names):
        stop = self.stops.get((names["method"], names["trial"]))
        return stop if stop and int(names["k"]) > stop else None


@pytest.fixture
def study(tmp_path):
    """Jobs of two runs of five iterations, and three tables."""

    def job(number, rule, **names):
        log = tmp_path / f"{number}.log"
        return Job(number, rule, {"dataset": "d", "model": "m"} | names, log)

    edits = [
        job(10 * trial + k, "edit", method="MEMIT", trial=str(trial), k=str(k))
        for trial in (1, 2)
        for k in range(1, ITERATIONS + 1)
    ]
    return [*edits, *(job(number, "render_table") for number in (1, 2, 3))]


def write(watch, number, text):
    """What a job writes into its log."""
    log = watch.running[number].job.log
    before = log.stat().st_mtime_ns if log.exists() else 10**18
    log.write_text(text)
    os.utime(log, ns=(before + 10**9,) * 2)


def run(watch, number, start, end):
    watch.start(number, "", start)
    write(watch, number, "")
    watch.look(start)
    watch.finish(number, end)


def test_nothing_is_known_before_a_job_with_a_model_tells(study):
    watch = Watch(Made(), study)
    assert watch.time_left(0) is None
    run(watch, 1, 0, 5)
    assert watch.time_left(5) is None and (watch.done, watch.total) == (1, 13)


def test_a_job_under_way_tells_before_it_has_ended(study):
    watch = Watch(Made(), study)
    watch.start(11, "", 0)
    write(watch, 11, " 20%|2 | 4/20 [00:40<02:40, 10.00s/request]")
    watch.look(40)
    # 160 s of this one, 200 of each that is left; nine more one after another, and three tables.
    assert watch.time_left(40) == pytest.approx(160 + 9 * 200 + 3 * 10)


def test_jobs_that_run_side_by_side_share_what_is_left(study):
    watch = Watch(Made(), study)
    for number in (11, 21):
        watch.start(number, "", 0)
        write(watch, number, "started\n")
    watch.look(1)
    for number in (11, 21):
        watch.finish(number, 100)
    assert watch.time_left(100) == pytest.approx((8 * 100 + 30) / 2)


def test_iterations_of_a_run_wait_for_each_other(study):
    """The last run alone does not get faster because two jobs could run."""
    watch = Watch(Made(), [job for job in study if job.names.get("trial") == "1"])
    other = Job(99, "render_table", {}, study[-1].log)
    watch = Watch(Made(), [*watch._left.values(), other])
    for number in (11, 99):
        watch.start(number, "", 0)
        write(watch, number, "started\n")
    watch.look(1)
    watch.finish(99, 10)
    watch.finish(11, 100)
    assert watch.time_left(100) == pytest.approx(4 * 100)


def test_iterations_after_a_stop_take_next_to_nothing(study):
    """Two runs that stop after two iterations: six of ten jobs only pass it on."""
    made = Made()
    watch = Watch(made, study)
    for k in (1, 2):
        run(watch, 10 + k, 0, 100)
    assert watch.time_left(100) == pytest.approx(8 * 100 + 30)
    made.stops["MEMIT", "1"] = 2
    watch.finish(13, 101)  # it passed the stop on, and its time counts for nothing
    left = watch.time_left(101)
    # The other run is likely to stop as this one did.
    assert left == pytest.approx(2 * 100 + 5 * 1.5 + 30)


def test_what_was_there_before_the_run_counts(study):
    left = [job for job in study if job.names.get("k") not in ("1", "2")]
    watch = Watch(Made(stops={("MEMIT", "1"): 2, ("MEMIT", "2"): 2}), left)
    assert (watch.done, watch.total) == (0, 9)
    assert watch.time_left(0) == pytest.approx(6 * 1.5 + 30)


def test_a_job_that_waits_in_a_queue_is_not_at_work(study):
    watch = Watch(Made(), study)
    study[0].log.write_text("of an earlier run, 4/20 [00:40<02:40, 10.00s/request]")
    watch.start(11, "", 0)
    watch.look(600)
    assert "1 waiting to start" in progress_line(watch, 600) and watch.time_left(600) is None
    write(watch, 11, "started\n")
    watch.look(1000)
    watch.finish(11, 1100)
    assert watch.time_left(1100) == pytest.approx(9 * 100 + 30)  # not 1100 s each


def test_a_job_whose_log_has_ended_is_not_spoken_of_any_more(study):
    """On a cluster Snakemake asks for the state of its jobs now and then only."""
    watch = Watch(Made(), study)
    watch.start(11, "", 0)
    write(watch, 11, "2026-01-01 00:00:00 finished in 90.0 s, with 900 MB of memory at most\n")
    watch.look(100)
    assert "|" not in progress_line(watch, 100)
    watch.finish(11, 105)
    assert watch.time_left(105) == pytest.approx(9 * 91 + 30)


def test_a_failed_job_is_left_to_do(study):
    watch = Watch(Made(), study)
    watch.start(11, "", 0)
    watch.fail(11)
    assert not watch.going and watch.done == 0
    watch.start(11, "", 1)
    assert watch.going


def test_the_line_says_what_long_jobs_are_at(study):
    watch = Watch(Made(), study)
    for number in (11, 21, 1):
        watch.start(number, "Table of everything", 0)
    write(watch, 11, " 41%|4 | 412/1000 [02:00<03:00, 0.29s/request]")
    write(watch, 21, "layer 3\n")
    write(watch, 1, "")
    watch.look(1)
    assert "|" not in progress_line(watch, 2)
    assert progress_line(watch, 120).endswith(
        "| MEMIT trial 1, k = 1: 412 of 1,000 requests, 3 min left · "
        "MEMIT trial 2, k = 1, 2 min so far · Table of everything, 2 min so far"
    )
    assert progress_line(watch, 120).startswith("0 of 13 jobs, about ")
    narrow = progress_line(watch, 120, 100)
    assert narrow.endswith("412 of 1,000 requests, 3 min left and 2 more") and len(narrow) <= 100
    assert len(progress_line(watch, 120, 40)) == 40
    cut = progress_line(watch, 120, 82)
    assert cut.endswith("… and 2 more") and len(cut) == 82
