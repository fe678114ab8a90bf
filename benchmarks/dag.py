"""What Snakemake and the rules cost beside the jobs: a whole study with scripts that do nothing.

The project is copied into a temporary folder in which every script is a stub that leaves its
outputs empty. Each job is started as ever; what passes beyond the stubs' own seconds is overhead.
It is set against the seconds that the plan expects of the same jobs on a device of an assumed
speed. See docs/benchmarks.md.
"""

import argparse
import os
import pstats
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import common
from common import ROOT
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from modeledit.planning.costs import Speed
from modeledit.planning.plan import Plan, make_plan
from modeledit.planning.survey import chains, published_stops
from modeledit.study.config import Settings, load_settings
from modeledit.study.inventory import Inventory
from tests.workflow.conftest import copy_project

TOLD = "MODELEDIT_STUB_SECONDS"  # names the file in which the stubs add their seconds up
STUB = """
import time
_begun = time.monotonic()
import json
import os
from pathlib import Path

for _output in map(Path, snakemake.output):
    _output.parent.mkdir(parents=True, exist_ok=True)
    if _output.name == "state.json":  # which the rules read
        _k = int(snakemake.wildcards.k)
        _state = {"k": _k, "held_by": _k, "passed_on": False, "stopped": False, "collapsed": None}
        _state |= {"p_bar": 1.0, "p_hat": 1.0, "dp": 0.0, "precision": "float32"}
        _output.write_text(json.dumps(_state | {"differences": [0.0] * _k}))
    elif _output.suffix or _output.name.startswith("."):
        _output.touch()
    else:
        _output.mkdir(exist_ok=True)
with open(os.environ["MODELEDIT_STUB_SECONDS"], "a") as _told:
    _told.write(f"{snakemake.rule} {time.monotonic() - _begun} {time.process_time()}\\n")
"""


def copy_with_stubs(folder: Path) -> None:
    """A copy of the project whose scripts do nothing but leave their outputs."""
    copy_project(folder)
    for script in (folder / "scripts").glob("*.py"):
        script.write_text(STUB, encoding="utf-8")


def run_snakemake(
    folder: Path, arguments: Sequence[str], profile: Path | None = None
) -> tuple[str, float, float]:
    """What a run prints, its wall seconds, and CPU-seconds of it and all that it starts."""
    python = [sys.executable, *(["-m", "cProfile", "-o", str(profile)] if profile else [])]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [*python, "-m", "snakemake", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {TOLD: str(folder / "stubs.txt")},
        check=False,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"snakemake {' '.join(arguments)} failed:\n{done.stdout[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, wall, cpu


def settings_of(configfiles: Sequence[Path]) -> Settings:
    """The checked configuration, merged as Snakemake merges it."""
    merged = load_configfile(str(ROOT / "config/config.yaml"))
    for path in configfiles:
        update_config(merged, load_configfile(str(path)))
    return load_settings(merged, ROOT, lambda path: 0)


def plan_of(study: Inventory, rate: float) -> Plan:
    """The plan of a study of which nothing is there, on a device of so many operations a second."""
    speed = Speed("assumed", rate, rate, rate / 2, 1e-5)
    return make_plan(
        study.settings,
        dict.fromkeys(study.jobs(), False),
        [],
        chains(study),
        [],
        published_stops(),
        dict.fromkeys(study.settings.models, speed),
    )


def our_seconds(profile: Path, folder: Path) -> float:
    """Seconds of the main thread in functions of the project, with all that they call.

    Left out is what is done when files are imported and rules are defined, once for any study.
    """
    begins = (f"{folder.resolve()}/", f"{folder}/")

    def ours(file: str, _: int, name: str) -> bool:
        return file.startswith(begins) and name != "<module>"

    found = pstats.Stats(str(profile))
    entered = 0.0
    for function, (*_, callers) in found.stats.items():
        if ours(*function):
            entered += sum(value[3] for caller, value in callers.items() if not ours(*caller))
    return round(entered, 2)


def count_jobs(output: str) -> dict[str, int]:
    """The table of jobs by rule that Snakemake prints."""
    table = output[output.index("Job stats:") :]
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Plan and run the study in `folder`, which is empty."""
    copy_with_stubs(folder)
    files = [str(path.resolve()) for path in arguments.configfile]
    study = Inventory(settings_of(arguments.configfile))
    named = ["--configfile", *files]
    profile = folder / "main.profile"
    printed, dry, dry_cpu = run_snakemake(folder, ["-n", *named])
    jobs = count_jobs(printed)
    row: dict[str, object] = {"jobs": jobs["total"], "iterations": jobs["edit"]}
    row |= {"dry_run_s": round(dry, 2), "dry_run_cpu_s": round(dry_cpu, 2)}
    run_snakemake(folder, ["-n", *named], profile)
    row["dry_run_our_s"] = our_seconds(profile, folder)
    if arguments.only_plan:
        return row
    cores = str(arguments.cores)
    _, wall, cpu = run_snakemake(folder, ["--cores", cores, *named], profile)
    stubs = [line.split() for line in (folder / "stubs.txt").read_text().splitlines()]
    own = sum(float(seconds) for _, seconds, _ in stubs)
    started = sum(float(seconds) for _, _, seconds in stubs)
    planned = (plan_of(study, arguments.rate).hours() or 0) * 3600
    row |= {
        "run_s": round(wall, 1),
        "run_cpu_s": round(cpu, 1),
        "jobs_cpu_s": round(started, 1),
        "overhead_s_per_job": round((wall - own) / len(stubs), 3),
        "planned_s_per_iteration": round(planned / jobs["edit"], 1),
        "overhead_share": f"{(wall - own) / planned:.2g}",
        "run_our_s": our_seconds(profile, folder),
    }
    return row


def parse_arguments() -> argparse.Namespace:
    parser = common.make_parser(__doc__)
    add = parser.add_argument
    default = [ROOT / "config/paper.yaml"]
    add("--configfile", type=Path, nargs="+", default=default, help="the study")
    add("--cores", type=common.positive, default=1, help="jobs that Snakemake runs at once")
    add("--rate", type=float, default=4e13, help="operations a second of the device of the plan")
    add("--only-plan", action="store_true", help="no run, only dry runs")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        row = measure(arguments, Path(folder))
    for name, value in row.items():
        print(f"{name:>24}  {value}")
    name = "_".join(path.stem for path in arguments.configfile)
    same = common.describe_machine("cpu", arguments.cores)
    common.write_table(arguments.output / f"dag_{name}.csv", [row], same)
    return 0


if __name__ == "__main__":
    sys.exit(main())
