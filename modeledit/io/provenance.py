"""Where results come from: code, packages, machine, and digests of inputs and models.

Nothing here has a time or a path of the machine in it: the same code, packages, machine and files
give the same record.
"""

import csv
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modeledit.io.files import digest, file_digest, read_json
from modeledit.io.seals import check_seal

CHANGED_SHOWN = 20  # names of changed files that a record holds at most


def record(
    root: Path, requirements: Path, files: Sequence[Path], prepared: Mapping[str, Path]
) -> dict[str, Any]:
    """Everything worth knowing about how results came about, as JSON-serialisable values.

    `root` is the project's folder, `requirements` a file of exact pins, `files` are digested, and
    `prepared` maps a model to its prepared.json. Returns the keys code, python, packages, machine,
    files and models. Raises FileNotFoundError for a file that is not there, StateError for a
    prepared.json that is not what was written.
    """
    for path in prepared.values():
        check_seal(path, f"delete {path.parent} to prepare the model again")
    return {
        "code": code(root),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": packages(requirements),
        "machine": machine(),
        "files": dict(sorted((_name(path, root), file_digest(path)) for path in files)),
        "models": {name: read_json(path) for name, path in sorted(prepared.items())},
    }


def code(root: Path) -> dict[str, Any]:
    """The git commit of `root`, and whether its tree differed from it.

    Returns commit (None without git, or where `root` is not the top of a repository, and then
    ``why`` says so), dirty, and changed: the first names that `git status` lists, new files too.
    """

    def git(*arguments: str) -> str:
        return _output(["git", "-C", str(root), *arguments])

    try:
        top = Path(git("rev-parse", "--show-toplevel").strip())
        if top.resolve() != root.resolve():
            raise OSError("the project is a folder inside another repository")
        commit = git("rev-parse", "HEAD").strip()
        changed = [line[3:] for line in git("status", "--porcelain").splitlines()]
    except OSError as error:
        return {"commit": None, "why": _one_line(str(error)), "dirty": None, "changed": []}
    return {"commit": commit, "dirty": bool(changed), "changed": sorted(changed)[:CHANGED_SHOWN]}


def packages(requirements: Path) -> dict[str, dict[str, str | None]]:
    """{package: {pinned, found}} for every exact pin of a requirements file; found may be None."""
    pins = re.findall(r"^([\w.-]+)==(\S+)", requirements.read_text(encoding="utf-8"), re.M)
    return {name: {"pinned": pin, "found": _version(name)} for name, pin in sorted(pins)}


def machine() -> dict[str, Any]:
    """System, processor, cores, memory in GiB and GPUs of the machine this runs on."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": _memory(),
        "gpus": gpus(),
    }


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")  # platform.processor() is empty on many systems
    if info.is_file():
        text = info.read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"^model name\s*:\s*(.+)$", text, re.M):
            return match[1].strip()
    return platform.processor() or platform.machine()


def gpus() -> list[dict[str, str]]:
    """Name, driver and memory of each GPU that nvidia-smi names; none where it is missing."""
    fields = {"name": "name", "driver": "driver_version", "memory": "memory.total"}
    query = f"--query-gpu={','.join(fields.values())}"
    try:
        said = _output(["nvidia-smi", query, "--format=csv,noheader"])
    except OSError:
        return []
    rows = csv.reader(said.splitlines(), skipinitialspace=True)
    return [dict(zip(fields, row, strict=True)) for row in rows if len(row) == len(fields)]


def _output(command: list[str]) -> str:
    """Standard output of a command; OSError if it is missing, fails or takes more than 30 s."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{command[0]} does not answer") from error
    if done.returncode:
        raise OSError(done.stderr or f"{command[0]} failed with exit status {done.returncode}")
    return done.stdout


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory() -> float | None:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return round(pages * size / 2**30, 1)


def _name(path: Path, root: Path) -> str:
    """A path as it was given; an absolute one below the project, or else the bare file name."""
    if not path.is_absolute():
        return path.as_posix()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _one_line(text: str) -> str:
    return " ".join(text.split())


def code_digest(project: Path, script: str, packages: Sequence[str]) -> str:
    """sha256 over a script and the Python files of some packages of the library, names included."""
    library = project / "modeledit"
    files = sorted(path for name in packages for path in (library / name).rglob("*.py"))
    files.append(project / "scripts" / f"{script}.py")
    return digest({str(path.relative_to(project)): file_digest(path) for path in files})
