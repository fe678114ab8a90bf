"""The fault campaign: whatever happens to a run, it says so, goes on, and ends with the same bytes.

    python -m tests.workflow.faults --out docs/faults.md

runs all of it on a tiny random model, in about half an hour on two cores (less with --quick, which
is what `test_faults.py` does), and writes a table of what was done and what came of it. Exits with
1 if something was not as promised.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.workflow import disturbed
from tests.workflow.conftest import Project
from tests.workflow.damage import Bench, Verdict, damages, files_read
from tests.workflow.disturbed import CLOCKS, KEPT, KILLS, METRICS, Outcome
from tests.workflow.recorded import Job, run_recorded
from tests.workflow.tiny_study import OPTIONS, OTHER, tiny_project

STORMS = 2  # runs that are killed once in each way
STEPS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.45)  # of the room that a run needs
RESOURCES_STEPS = (0.0, 0.5)
INTRODUCTION = """\
# What faults come to

Whatever happens to a run, there should be one message that names the file or the job and the way
out; the same command should go on from there; the final files should be, to the byte, those of a
run that nobody disturbed; and nothing should be left over. This is what came of trying it, on a
study of a tiny random model with MEMIT and NA_MEMIT (`tests/workflow/tiny_study.py`), written by

    .venv/bin/python -m tests.workflow.faults --out docs/faults.md

(half an hour on two cores; the disks need the right to mount a file system, and are left out
without it). `make test-all` runs a short form of it.

**How to read it.** In the first two tables every file that one job leaves and another one reads was
damaged, one at a time, and every job that reads it was done again: it *refused* the file, with a
message of one line that names it and says what to delete, or it left the *same bytes* as from the
whole file. *Otherwise* counts everything else, above all results that differ, and should be 0.
"Another study" is one with another seed, "another method" and "another iteration" are of the same
study. In the last table a run was disturbed, started again as documented (`scripts/unlock.py`, then
the same command), and compared: results/, resources/ and TMPDIR hold the same files as after an
undisturbed run, with the same bytes but for what says how long a job took (`hardware.*`,
`report.html`, and `tables.*` with the table of the hardware). What Snakemake itself leaves
below `.snakemake/`, and as `snakemake*` in TMPDIR where it is killed, is not looked at.
"""


@dataclass(frozen=True)
class Campaign:
    """A finished run of the tiny study: its project, a copy of what it left, and its jobs."""

    project: Project
    whole: Path
    jobs: Sequence[Job]
    folder: Path

    @classmethod
    def prepare(cls, folder: Path, targets: Sequence[str] = (), other: bool = True) -> "Campaign":
        """Run the study, and the `other` one for files to swap, below an empty `folder`."""
        project = tiny_project(folder / "project")
        jobs = run_recorded(project, *targets, *OPTIONS)
        if other:
            done = project.snakemake("--configfile", f"tmp/{OTHER}.yaml")
            assert done.returncode == 0, done.stdout[-5000:]
        for part in KEPT:
            shutil.copytree(project.folder / part, folder / "whole" / part)
        return cls(project, folder / "whole", jobs, folder)

    def place(self, name: str, finished: bool = False) -> disturbed.Place:
        """A copy of the project to be disturbed."""
        return disturbed.copy_of(self.project, self.folder / name, finished)

    def damaged(self, seed: int, most: int | None = None) -> Iterator[Verdict]:
        """What is made of damaged files; of each file `most` kinds of damage.

        First every job is done again on whole files, or the rest would prove nothing.
        """
        bench, before = Bench(self.project.folder, self.whole, self.jobs), Path.cwd()
        os.chdir(self.project.folder)
        sys.path.insert(0, str(self.project.folder))
        try:
            for job in self.jobs:
                yield bench.judge(Path("all files"), "none", job)
            for path in files_read(self.jobs):
                kinds = list(damages(path, rng := random.Random(f"{seed} {path}")))
                rng.shuffle(kinds)
                for damage in kinds[:most]:
                    yield from bench.verdicts(path, damage)
        finally:
            os.chdir(before)
            sys.path.remove(str(self.project.folder))

    def kills(self, seed: int, most: int | None = None) -> list[Outcome]:
        """A run that is killed at random moments, in each way or in `most` of them."""
        rng, kinds = random.Random(seed), list(KILLS)
        rng.shuffle(kinds)
        return disturbed.killed(self.place(f"killed{seed}"), self.whole, rng, kinds[:most])

    def disturbances(self, seed: int) -> Iterator[Outcome]:
        """Every disturbance but kills: disks, two runs at once, clocks."""
        if disturbed.can_mount(self.folder / "mounted"):
            place = self.place("results_full")
            yield from disturbed.full_disk(place, self.whole, "results", STEPS)
            place = self.place("resources_full")
            yield from disturbed.full_disk(place, self.whole, "resources", RESOURCES_STEPS)
            yield from disturbed.full_scratch(self.place("scratch_full"), self.whole)
        yield from disturbed.two_at_once(self.place("two"), self.whole)
        for kind in CLOCKS:
            place = self.place(f"clock {kind}".replace(" ", "_"), finished=True)
            yield disturbed.clocks(place, self.whole, random.Random(seed), kind)


def table(heading: str, rows: Iterable[tuple[str, Verdict]]) -> str:
    """Verdicts counted by the name that goes with them."""
    counts: dict[str, Counter[str]] = {}
    for name, verdict in rows:
        counts.setdefault(name, Counter())[verdict.outcome if verdict.right else "other"] += 1
    lines = [
        f"| {heading} | times | refused | same bytes | otherwise |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, count in sorted(counts.items()):
        cells = (count.total(), count["refused"], count["same"], count["other"])
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def page(verdicts: Sequence[Verdict], outcomes: Sequence[Outcome]) -> str:
    """docs/faults.md: how to read it, and the tables."""
    by_kind = table("damage", ((verdict.kind, verdict) for verdict in verdicts))
    by_file = table("file", ((_family(verdict.file), verdict) for verdict in verdicts))
    wrong = [
        f"- {v.file}, {v.kind}, read by {v.job}: {v.outcome} {v.said}"[:300]
        for v in verdicts
        if not v.right
    ]
    lines = ["| | fault | outcome |", "|---|---|---|"]
    lines += [
        f"| {o.kind} | {o.fault} | {'; '.join(o.wrong)[:300] or 'as promised'} |" for o in outcomes
    ]
    parts = [INTRODUCTION, "## Damaged files", by_kind, by_file, "\n".join(wrong)]
    parts += ["## Disturbed runs", "\n".join(lines)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _family(file: str) -> str:
    path = Path(file)
    return f"figures/*{path.suffix}" if path.parent.name == "figures" else path.name


def main() -> None:
    """Run the campaign and write its page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="the page to be written")
    parser.add_argument("--quick", action="store_true", help="a sample of it, in minutes")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as folder:
        if given.quick:
            campaign = Campaign.prepare(Path(folder), METRICS, other=False)
            verdicts = list(campaign.damaged(given.seed, most=1))
            outcomes += campaign.kills(given.seed, most=2)
        else:
            campaign = Campaign.prepare(Path(folder))
            verdicts = list(campaign.damaged(given.seed))
            for storm in range(STORMS):
                outcomes += campaign.kills(given.seed + storm)
            for outcome in campaign.disturbances(given.seed):
                outcomes.append(outcome)
                # What is known so far, should the campaign itself be disturbed.
                given.out.write_text(page(verdicts, outcomes), encoding="utf-8")
    given.out.write_text(page(verdicts, outcomes), encoding="utf-8")
    for outcome in outcomes:
        print(outcome)
    wrong = [v for v in verdicts if not v.right] + [o for o in outcomes if o.wrong]
    print(*wrong, f"{len(wrong)} faults were not as promised", sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
