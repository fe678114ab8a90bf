"""What a real run of a tiny study shows: on a terminal, into a pipe, and when a job fails."""

import os
import pty
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest

from modeledit.io.log import ERASE
from tests.workflow import tiny_study

METRICS = "results/faults/metrics.csv"
COMMAND = [sys.executable, "-m", "snakemake", "--cores", "2", "metrics", *tiny_study.OPTIONS]


@dataclass
class Shown:
    """What a terminal got of a run, and what was left on it at the end."""

    text: str
    returncode: int

    @property
    def left(self) -> list[str]:
        """Its lines, without those that were erased and without colours."""
        lines = [line.rpartition(ERASE)[2] for line in self.text.replace("\r\n", "\n").split("\n")]
        return [re.sub(r"\x1b\[\d*m", "", line) for line in lines if line]


def on_a_terminal(project, *more: str) -> Shown:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *more],
        cwd=project.folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(theirs)
    parts = []
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(ours)
    return Shown(b"".join(parts).decode(), process.wait())


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return tiny_study.tiny_project(tmp_path_factory.mktemp("progress"))


@pytest.fixture(scope="module")
def run(project):
    """The study from its beginning to metrics.csv, on a terminal."""
    return on_a_terminal(project)


@pytest.mark.slow
def test_one_line_shows_the_progress_of_a_run(run, project):
    assert run.returncode == 0, run.text[-3000:]
    drawn = re.findall(re.escape(ERASE) + r"(\d+) of (\d+) jobs, (.+?)(?=[\r\x1b])", run.text)
    done = [int(number) for number, _, _ in drawn]
    assert done == sorted(done) and done[0] == 0 and len({total for _, total, _ in drawn}) == 1
    assert max(done) == int(drawn[0][1]) - 1  # the last job ends the line
    assert any("left" in rest and "not known" not in rest for _, _, rest in drawn)
    for word in ("Reason:", "Job ", "Finished jobid", "Select jobs", "steps ("):
        assert not [line for line in run.left if word in line]
    assert not [line for line in run.left if " jobs, " in line]
    assert len(run.left) < 15, run.left
    assert "Where to look:" in run.left and f"  {METRICS}" in "\n".join(run.left)
    (log,) = (project.folder / ".snakemake/log").glob("*.log")
    assert "Finished jobid" in log.read_text() and f"Complete log(s): {log}" in run.left


@pytest.mark.slow
def test_a_failed_job_is_seen_in_full(run, project):
    assert run.returncode == 0
    requests = project.folder / "results/faults"
    (scores,) = requests.glob("own-eligible/*/MEMIT/trial1/iter1/scores.parquet")
    kept = scores.read_bytes()
    scores.write_bytes(b"no parquet")
    try:
        failed = on_a_terminal(project)
    finally:
        scores.write_bytes(kept)
    assert failed.returncode == 1
    text = "\n".join(failed.left)
    assert "Error in rule evaluate_run:" in text and "Logfile logs/faults/" in text
    assert text.count("scores.parquet") >= 2 and "Stopped; the failed job's own log" in text
    assert "At least one job did not complete successfully." in text
    assert not [line for line in failed.left if re.match(r"\d+ of \d+ jobs", line)]


@pytest.mark.slow
def test_a_pipe_gets_all_that_snakemake_says_and_no_control_codes(run, project):
    (project.folder / METRICS).unlink()
    shutil.rmtree(project.folder / "results/faults/own-eligible/tiny-gpt2/MEMIT/trial1/iter2")
    piped = project.snakemake("metrics", *tiny_study.OPTIONS)
    assert piped.returncode == 0, piped.stdout[-3000:]
    assert "\x1b" not in piped.stdout and "Job stats:" in piped.stdout
    assert "steps (100%) done" in piped.stdout and "Where to look:" in piped.stdout


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--dry-run", "--verbose", "--printshellcmds"])
def test_who_asks_snakemake_for_more_gets_it(run, project, option):
    shown = on_a_terminal(project, option, "--forcerun", "aggregate")
    assert shown.returncode == 0, shown.text[-3000:]
    assert any(line.startswith("Job stats:") for line in shown.left)
    assert not re.search(r"\d+ of \d+ jobs", shown.text)


@pytest.mark.slow
@pytest.mark.parametrize("option", [("--quiet",), ("--quiet", "all")])
def test_who_asks_for_quiet_gets_it(run, project, option):
    shown = on_a_terminal(project, *option, "--forcerun", "aggregate")
    assert shown.returncode == 0, shown.text[-3000:]
    assert not re.search(r"\d+ of \d+ jobs", shown.text)
