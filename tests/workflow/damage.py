"""Every intermediate file of a finished run damaged, one at a time: what do its readers say?

Whoever reads it has to refuse it, with its name and the way out, or to leave the same bytes as of
the whole file. Anything else would be a wrong result that nobody notices.
"""

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeledit.io.seals import seal_of
from tests.workflow.recorded import Job
from tests.workflow.tiny_study import METHODS, NAME, OTHER

FLIPS = 3  # bytes flipped in each file, one at a time
TEXT = (".json", ".jsonl", ".csv", ".yaml", ".tex", ".html", ".txt")
WAYS_OUT = ("delete", "again")


@dataclass(frozen=True)
class Damage:
    """What became of a file: the kind in words, and its bytes."""

    kind: str
    data: bytes


@dataclass(frozen=True)
class Verdict:
    """What a job made of a damaged file. `outcome` is "same", "refused" or what is wrong."""

    file: str
    kind: str
    job: str
    outcome: str
    said: str = ""

    @property
    def right(self) -> bool:
        """Whether it is what was promised."""
        return self.outcome in ("same", "refused")


def damages(path: Path, rng: random.Random) -> Iterator[Damage]:
    """Ways in which `path` (below a project, as jobs name it) may be damaged."""
    whole = path.read_bytes()
    for _ in range(FLIPS if whole else 0):
        data = bytearray(whole)
        data[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        yield Damage("a bit flipped", bytes(data))
    if path.suffix in TEXT and whole.count(b"\n") > 1:
        digits = [i for i, byte in enumerate(whole) if chr(byte).isdigit()]
        if digits:
            data = bytearray(whole)
            place = rng.choice(digits)
            data[place] = ord(str((int(chr(data[place])) + 1) % 10))
            yield Damage("a digit changed", bytes(data))
        lines = whole.splitlines(keepends=True)
        yield Damage("cut at a line's end", b"".join(lines[: len(lines) // 2]))
        yield Damage("its last line lost", b"".join(lines[:-1]))
    yield Damage("cut in half", whole[: len(whole) // 2])
    yield Damage("emptied", b"")
    for kind, other in counterparts(path):
        if other.is_file() and other.read_bytes() != whole:
            yield Damage(kind, other.read_bytes())


def counterparts(path: Path) -> Iterator[tuple[str, Path]]:
    """Files that could stand in the place of `path`: of the other method, of another study."""
    one, two = METHODS
    parts = path.parts
    if one in parts or two in parts:
        swapped = [{one: two, two: one}.get(part, part) for part in parts]
        yield "that of another method", Path(*swapped)
    for k in ("iter1", "iter2"):
        if k in parts:
            other = [{"iter1": "iter2", "iter2": "iter1"}.get(part, part) for part in parts]
            yield "that of another iteration", Path(*other)
    if NAME in parts:
        yield (
            "that of another study",
            Path(*(OTHER if part == NAME else part for part in parts)),
        )


def files_read(jobs: Sequence[Job]) -> list[Path]:
    """Every file that one job leaves and another one reads; of folders their files."""
    made = {path for job in jobs for path in job.outputs}
    beside = {path for job in jobs for path in job.reads if Path(path).exists()}
    found: set[Path] = set()
    for name in beside:
        path = Path(name)
        if path.is_dir():
            found |= {p for p in path.rglob("*") if p.is_file() and name in made}
        elif name in made:
            found.add(path)
    return sorted(path for path in found if not path.name.startswith("."))


class Bench:
    """A finished project, in which files are damaged and put right again."""

    def __init__(self, project: Path, whole: Path, jobs: Sequence[Job]) -> None:
        """`whole` is a copy of what the project holds below results/ and resources/."""
        self.project, self.whole, self.jobs = project, whole, jobs

    def readers(self, path: Path) -> list[Job]:
        """Jobs that read `path`, or the folder that it is in."""
        names = {str(path), *map(str, path.parents)}
        return [job for job in self.jobs if job.reads & names]

    def put_right(self, *paths: str | Path) -> None:
        """Make files or folders what they were, seals and times included."""
        for path in map(Path, paths):
            source = self.whole / path
            if path.is_dir():
                shutil.rmtree(path)
            if source.is_dir():
                shutil.copytree(source, path)
                continue
            for name in (path.name, seal_of(path).name):
                (path.parent / name).unlink(missing_ok=True)
                if source.with_name(name).exists():
                    shutil.copy2(source.with_name(name), path.with_name(name))

    def same(self, path: str) -> bool:
        """Whether an output is, to the byte, what the whole run left."""
        now, then = Path(path), self.whole / path
        if then.is_dir():
            files = [p for p in then.iterdir() if not p.name.startswith(".")]  # Snakemake's mark
            return all(self.same(f"{path}/{p.name}") for p in files)
        if then.name == "hardware.json":  # times
            return now.is_file()
        return now.is_file() and now.read_bytes() == then.read_bytes()

    def judge(self, path: Path, kind: str, job: Job) -> Verdict:
        """What `job` makes of the damaged `path`."""
        name = f"{job.script} {' '.join(str(value) for value in job.given.wildcards)}".strip()
        for output in job.outputs:
            Path(output).unlink() if Path(output).is_file() else shutil.rmtree(output)
        try:
            job.run(self.project)
        except Exception as error:
            said = str(error)
            named = any(str(p) in said for p in (path, path.parent))
            way_out = any(word in said for word in WAYS_OUT)
            wrong = [
                word
                for word, well in (
                    ("no name", named),
                    ("no way out", way_out),
                    ("several lines", "\n" not in said.strip()),
                )
                if not well
            ]
            outcome = ", ".join(wrong) or "refused"
            return Verdict(str(path), kind, name, outcome, f"{type(error).__name__}: {said}")
        finally:
            left = [output for output in job.outputs if not self.same(output)]
            self.put_right(*job.outputs)
        outcome = f"believed: {', '.join(left)}" if left else "same"
        return Verdict(str(path), kind, name, outcome)

    def verdicts(self, path: Path, damage: Damage) -> Iterator[Verdict]:
        """What each reader of `path` makes of it once it is damaged."""
        times = path.stat()
        path.write_bytes(damage.data)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        try:
            for job in self.readers(path):
                yield self.judge(path, damage.kind, job)
        finally:
            self.put_right(path)
