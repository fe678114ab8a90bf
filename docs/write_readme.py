"""README.md, and the tables of docs/ with the same numbers, written from what was measured.

    python docs/write_readme.py                 # after a change to readme.md.j2 or of a number
    python docs/write_readme.py results/demo    # takes metrics and figures of a run first

What was measured lies in docs/measured/ (`metrics.csv` and `differences.csv` of the default run;
`commands.csv`, what commands of the Makefile took, kept by hand) and in benchmarks/measured/. The
text of README.md is docs/readme.md.j2, which has no numbers of its own. A test says so, and when a
page is stale.
"""

import argparse
import csv
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from modeledit.evaluation.aggregation import Averaging, at_stop, by_iteration, picks, read_metrics
from modeledit.io.files import read_json, write_text
from modeledit.io.frames import read_csv
from modeledit.study.config import described_model, load_settings, read_yaml
from modeledit.study.manual import between, table

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python docs/write_readme.py"
MEASURED = ROOT / "docs/measured"
METRICS = MEASURED / "metrics.csv"
DIFFERENCES = MEASURED / "differences.csv"
COMMANDS = MEASURED / "commands.csv"
CPU = ROOT / "benchmarks/measured/cpu.csv"
GPU = ROOT / "benchmarks/measured/h100.json"
IMAGES = ROOT / "docs/images"
FIGURES = {  # docs/images/{name}.png: the default run's figure
    "trajectories": "geography-eligible.smollm2-135m.trajectories",
    "qualitative": "geography-eligible.smollm2-135m.MEMIT.qualitative",
    "perplexity_stages": "geography-eligible.smollm2-135m.MEMIT.perplexity_stages",
    "underedit": "geography-eligible.smollm2-135m.MEMIT.underedit",
}
LINE = 120  # characters of a line of README.md
COLUMNS = {  # of metrics.csv, as the tables call them
    "eff_acc": "efficacy",
    "gen_acc": "generalization",
    "spec_acc": "specificity",
    "score_acc": "score",
    "me_ppl": "ME-PPL",
    "dp": "abs(dp)",
}
PERCENT = ("eff_acc", "gen_acc", "spec_acc", "score_acc")


@dataclass(frozen=True)
class Row:
    """A method at one point, as means over trials; `values` are fractions and perplexities."""

    label: str
    k: str
    values: Mapping[str, float]

    def said(self, column: str, digits: int = 1) -> str:
        """A value as tables print it: percent with so many digits; "" where there is none."""
        value = self.values[column]
        if pd.isna(value):
            return ""
        return f"{100 * value:.{digits}f}" if column in PERCENT else f"{value:.2f}"


@dataclass(frozen=True)
class Method:
    """What came of a method in the default run: after k = 1, and where it stops."""

    first: Row
    stop: Row


@dataclass(frozen=True)
class Demo:
    """The default run: the unedited model, its methods by name, its metrics and paired tests."""

    unedited: Row
    methods: Mapping[str, Method]
    metrics: pd.DataFrame
    differences: pd.DataFrame
    averaging: Averaging

    @property
    def edits(self) -> int:
        """Requests of all trials."""
        return int(self._trials()["n_requests"].sum())

    @property
    def trials(self) -> int:
        return len(self._trials())

    def _trials(self) -> pd.DataFrame:
        return self.metrics.drop_duplicates("trial")

    def rises(self, comparison: str, method: str, column: str) -> str:
        """ "from 78.6 to 93.6% (p < 0.005)", for a sentence that says so; p as corrected.

        It says, too, where that could be chance: where the test has not found it significant.

        Raises ValueError where the value does not rise: the sentence of readme.md.j2 is wrong then.
        """
        asked = {"comparison": comparison, "a": method, "metric": column}
        found = self.differences
        for name, value in asked.items():
            found = found[found[name] == value]
        if len(found) != 1 or not found.iloc[0]["difference"] > 0:
            raise ValueError(
                f"docs/readme.md.j2 says that a value rises, and {DIFFERENCES} does not say it of "
                f"{asked}: write that sentence anew"
            )
        row = found.iloc[0]
        p = f"p = {row['p_adjusted']:.2f}" if row["p_adjusted"] >= 0.005 else "p < 0.005"
        chance = "" if row["significant"] else ", which may be chance"
        return f"from {100 * row['mean_b']:.1f} to {100 * row['mean_a']:.1f}% ({p}{chance})"

    def table(self, digits: int) -> str:
        """Means over trials, a row for each method after k = 1 and at its stop."""
        rows = [self.unedited, *(r for m in self.methods.values() for r in (m.first, m.stop))]
        header = ("mean of trials", "k", *COLUMNS.values())
        return table(header, [(r.label, r.k, *(r.said(c, digits) for c in COLUMNS)) for r in rows])

    def table_of_trials(self) -> str:
        """Accuracies trial by trial, after k = 1 and at each run's stop."""
        return table(
            ("", *(f"trial {t} ({n} edits)" for t, n in self._sizes())), self._rows_of_trials()
        )

    def _sizes(self) -> Iterator[tuple[int, int]]:
        yield from self._trials()[["trial", "n_requests"]].itertuples(index=False, name=None)

    def _rows_of_trials(self) -> Iterator[tuple[str, ...]]:
        stops = picks(self.metrics, self.averaging.rule)
        for (_, _, method), found in stops.items():
            rows = self.metrics[self.metrics["method"] == method].set_index(["trial", "k"])
            stop = found["proposed"].k
            yield (f"{method}, stop at k", *(str(stop[trial]) for trial, _ in self._sizes()))
            for column in ("eff_acc", "gen_acc", "spec_acc"):
                for when in ("k = 1", "stop"):
                    ks = [(trial, 1 if when == "k = 1" else stop[trial]) for trial in stop]
                    said = (f"{100 * rows.loc[at, column]:.1f}" for at in ks)
                    yield (f"{method}, {COLUMNS[column]}, {when}", *said)


@dataclass(frozen=True)
class Taken:
    """What one command took on one machine; times as minutes:seconds, the environment's in it."""

    command: str
    machine: str
    cores: str
    idle: str
    time: str
    environment: str
    tests: str
    skipped: str


@dataclass(frozen=True)
class Speed:
    """MEMIT's iteration with its scores: seconds per request, and the plain loop's over these."""

    seconds: float
    ratio: float


@dataclass(frozen=True)
class Gpu:
    """How fast MEMIT is on a GPU in float32, by model, the fastest first."""

    device: str
    entries: Mapping[str, Speed]

    @property
    def ratios(self) -> list[float]:
        """How many times as fast as the plain loop, the least first."""
        return sorted(speed.ratio for speed in self.entries.values())


@dataclass(frozen=True)
class Measured:
    """All that the pages show."""

    demo: Demo
    commands: Sequence[Taken]
    cpu: pd.DataFrame
    gpu: Gpu

    def took(self, command: str) -> Taken:
        """The first line of a command in commands.csv: the one that README shows."""
        return next(taken for taken in self.commands if taken.command == command)


def read_demo(metrics: Path, differences: Path) -> Demo:
    """The default run from these files of its results, averaged as config/config.yaml says."""
    found = read_metrics(metrics)
    default = load_settings(read_yaml(ROOT / "config/config.yaml", "the default"), ROOT, len)
    averaging = Averaging.of(default.switches, default.config.stop.epsilon)
    every_k = by_iteration(found, averaging)
    stops = at_stop(found, averaging)
    unedited = Row("unedited", "0", every_k[every_k["k"] == 0].iloc[0][list(COLUMNS)].to_dict())
    methods = {}
    for _, row in stops.iterrows():
        name = row["method"]
        first = every_k[(every_k["method"] == name) & (every_k["k"] == 1)].iloc[0]
        methods[name] = Method(
            Row(name, "1", first[list(COLUMNS)].to_dict()),
            Row(f"{name}, at its stop", row["k_text"], row[list(COLUMNS)].to_dict()),
        )
    return Demo(unedited, methods, found, read_csv(differences), averaging)


def read_gpu(path: Path) -> Gpu:
    """The whole iterations among what benchmarks/gpu.py measured, fastest first."""
    found = read_json(path)
    entries = {}
    for entry in found["entries"].values():
        if "plain_seconds" in entry:
            seconds = sum(entry["seconds"].values())
            entries[described_model(entry["model"], ROOT).title] = Speed(
                seconds / entry["requests"], sum(entry["plain_seconds"].values()) / seconds
            )
    ordered = sorted(entries.items(), key=lambda item: item[1].seconds)
    return Gpu(found["made_with"]["device"], dict(ordered))


def read_measured() -> Measured:
    """All that was measured; FileNotFoundError or FileError names what is not there."""
    with open(COMMANDS, encoding="utf-8", newline="") as stream:
        commands = [Taken(**row) for row in csv.DictReader(stream)]
    return Measured(read_demo(METRICS, DIFFERENCES), commands, pd.read_csv(CPU), read_gpu(GPU))


def commands_table(measured: Measured) -> str:
    """commands.csv, for docs/status.md."""
    header = ("command", "machine", "minutes", "of these for the environment", "tests", "skipped")
    rows = (
        (
            f"`{taken.command}` from a fresh clone in an empty environment",
            f"{taken.machine}, {taken.cores} cores" + (", idle" if taken.idle == "yes" else ""),
            *(taken.time, taken.environment, f"{int(taken.tests):,}" if taken.tests else ""),
            taken.skipped,
        )
        for taken in measured.commands
    )
    return table(header, rows)


def cpu_table(measured: Measured) -> str:
    """cpu.csv, for docs/benchmarks.md."""
    header = (
        *("times as fast", "OPTIMIZATION", "SPREAD", "p-hat", "scoring", "whole iteration"),
        *("engine, seconds per request", "OPTIMIZATION's part of the machine's ceiling"),
    )
    rows = measured.cpu.itertuples(index=False, name=None)
    return table(header, [(name, *(f"{value:g}" for value in values)) for name, *values in rows])


def gpu_table(measured: Measured) -> str:
    """What h100.json says of whole iterations, for docs/benchmarks.md."""
    gpu = measured.gpu
    header = ("an iteration of MEMIT with its scores", *gpu.entries)
    return table(
        header,
        [
            ("seconds per request", *(f"{one.seconds:.2f}" for one in gpu.entries.values())),
            (
                "times as fast as the plain loop",
                *(f"{one.ratio:.0f}" for one in gpu.entries.values()),
            ),
        ],
    )


def wrapped(text: str) -> str:
    """Markdown with its paragraphs filled to LINE; code, headings, tables and comments stay."""
    lines: list[str] = []
    paragraph: list[str] = []
    in_code = False
    for line in [*text.splitlines(), ""]:
        fence = line.startswith("```")
        if not line or fence or in_code or line[0] in "#|<!":
            lines += textwrap.wrap(
                " ".join(paragraph), LINE, break_long_words=False, break_on_hyphens=False
            )
            lines.append(line)
            paragraph = []
        else:
            paragraph.append(line.strip())
        in_code ^= fence
    return "\n".join(lines).strip() + "\n"


def readme(measured: Measured) -> str:
    """README.md, as readme.md.j2 and what was measured have it."""
    environment = Environment(
        loader=FileSystemLoader(ROOT / "docs"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    page = environment.get_template("readme.md.j2")
    return wrapped(page.render(measured=measured, demo=measured.demo, command=COMMAND))


Block = Callable[[Measured], str]
BLOCKS: dict[str, tuple[str, Block]] = {  # marks in a page of docs/: the page, what is between
    "demo": ("results.md", lambda m: f"{m.demo.table(2)}\n\n{m.demo.table_of_trials()}"),
    "commands": ("status.md", commands_table),
    "cpu": ("benchmarks.md", cpu_table),
    "gpu": ("benchmarks.md", gpu_table),
}


def pages(measured: Measured) -> dict[Path, str]:
    """All pages with numbers of what was measured, as they should be."""
    found = {ROOT / "README.md": readme(measured)}
    for mark, (name, block) in BLOCKS.items():
        page = ROOT / "docs" / name
        text = found.get(page) or page.read_text(encoding="utf-8")
        found[page] = between(text, f"{mark}: {COMMAND}", mark, block(measured), page)
    return found


def take(results: Path) -> None:
    """Copy metrics and figures of a finished default run; FileNotFoundError names what lacks."""
    wanted = {results / "metrics.csv": METRICS, results / "differences.csv": DIFFERENCES} | {
        results / "figures" / f"{figure}.png": IMAGES / f"{name}.png"
        for name, figure in FIGURES.items()
    }
    if missing := [str(path) for path in wanted if not path.is_file()]:
        raise FileNotFoundError(
            f"{', '.join(missing)}: not there; {results} has to be a finished run of the default "
            "(make demo)"
        )
    for path, copy in wanted.items():
        shutil.copyfile(path, copy)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description="Write README.md, and the tables of docs/ with the same numbers."
    )
    parser.add_argument(
        "results", nargs="?", type=Path, help="a finished default run to take from (results/demo)"
    )
    asked = parser.parse_args(arguments)
    try:
        if asked.results:
            take(asked.results)
        for path, text in pages(read_measured()).items():
            write_text(path, text)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
