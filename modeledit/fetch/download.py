"""Published files, fetched whole or not at all.

A file is taken from an offline folder where it is there, else from its addresses, tried in order
with retries. It is written under a temporary name, held against its sha256 and renamed, so that a
later run finds it whole or absent. Passwords in addresses are used, but neither said nor recorded.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import requests
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
)

from modeledit.fetch.hub import fetch_file
from modeledit.io.files import DiskError, file_digest, finished
from modeledit.io.log import progress
from modeledit.io.refusal import Refusal
from modeledit.study.masking import masked
from modeledit.study.published_files import Source

log = logging.getLogger(__name__)

OFFLINE = "MODELEDIT_OFFLINE"
ATTEMPTS = 5
FIRST_WAIT = 1.0  # seconds between two attempts, doubled each time
_BLOCK = 1 << 20
_SECONDS = (10, 60)  # to connect, and between two blocks
_BUSY = {408, 425, 429}


class DownloadError(Refusal):
    """A published file that could not be fetched."""


def offline_folder(configured: str | None) -> Path | None:
    """The folder to look into before the network: the configured one, or MODELEDIT_OFFLINE's.

    Raises DownloadError where it is no folder.
    """
    name = configured or os.environ.get(OFFLINE)
    if not name:
        return None
    if not Path(name).is_dir():
        key = "offline" if configured else OFFLINE
        raise DownloadError(f"{key} = {name!r}: no such folder")
    return Path(name)


def fetch(source: Source, target: Path, offline: Path | None = None) -> dict:
    """Put the file that `source` describes at `target`; return what is known of it.

    Returns name, origin, sha256 and bytes. Raises DownloadError, with nothing left behind, when
    every origin fails or the disk is full.
    """
    troubles = []
    for origin, fill in _origins(source, offline, target.parent):
        try:
            with finished(target) as part:
                origin, announced = fill(part)
                expected, found = source.sha256 or announced, file_digest(part)
                if expected not in (None, found):
                    raise DownloadError(f"its sha256 is {found}, expected {expected}")
                size = part.stat().st_size
        except DiskError as error:
            why = str(error).removeprefix(f"{target}: ")
            raise DownloadError(f"{source.name}: {why}") from error
        except (ValueError, requests.RequestException) as error:
            log.warning("%s from %s: %s", source.name, origin, reason(error))
            troubles.append(f"{origin}: {reason(error)}")
        else:
            known = "as expected" if expected else "no published digest to compare with"
            log.info("%s from %s: %d bytes, sha256 %s (%s)", target, origin, size, found, known)
            return {"name": source.name, "origin": origin, "sha256": found, "bytes": size}
    looked = f"looked in {offline}" if offline else "there is none now"
    raise DownloadError(
        f"{source.name} could not be fetched: {'; '.join(troubles)}. Start again where there is a "
        f"network, or put the right file as {source.name} into a folder and name that with "
        f"`offline` in the configuration or with {OFFLINE} ({looked})"
    )


def find_offline(source: Source, folder: Path) -> Path | None:
    """The file in `folder`: at its name, its path or an end of these, or anywhere by its sha256."""
    names = (PurePosixPath(name).parts for name in (source.name, source.path))
    places = [folder.joinpath(*parts[i:]) for parts in names for i in range(len(parts))]
    if source.sha256 is None:
        return next((place for place in places if place.is_file()), None)
    places += sorted(folder.rglob(places[-1].name))
    right = (p for p in places if p.is_file() and file_digest(p) == source.sha256)
    # Under its own name a wrong file is better complained about than passed over.
    return next(right, places[0] if places[0].is_file() else None)


Fill = Callable[[Path], tuple[str, str | None]]
"""Fills a temporary file; returns where it is from, and the sha256 that is announced there."""


def _origins(source: Source, offline: Path | None, folder: Path) -> Iterator[tuple[str, Fill]]:
    """Where the file may come from, and how it gets from there into a temporary file."""
    if offline and (found := find_offline(source, offline)):
        yield str(found), partial(_copy, found)
    for url in source.urls:
        yield masked(url), partial(_stream, url)
    if source.repo:
        yield f"{source.repo}/{source.path}", partial(_take, source, folder)


def _copy(found: Path, part: Path) -> tuple[str, None]:
    shutil.copyfile(found, part)
    return str(found), None


def _stream(url: str, part: Path) -> tuple[str, None]:
    """Download `url`, starting again after a failure that may pass."""
    for attempt in Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=FIRST_WAIT, max=60 * FIRST_WAIT),
        retry=retry_if_exception(may_pass),
        before_sleep=partial(_tell, url),
        reraise=True,
    ):
        with attempt:
            # Compressed on the way, a file's length would not be known.
            plain = {"Accept-Encoding": "identity"}
            with requests.get(url, stream=True, timeout=_SECONDS, headers=plain) as answer:
                answer.raise_for_status()
                length = answer.headers.get("Content-Length", "")
                total = int(length) if length.isdecimal() else None
                with part.open("wb") as stream, progress(total, "B") as bar:
                    bar.unit_scale = True
                    for block in answer.iter_content(_BLOCK):
                        stream.write(block)
                        bar.update(len(block))
    return masked(url), None


def _take(source: Source, folder: Path, part: Path) -> tuple[str, str | None]:
    """Take a file of the hub; what an interrupted download left in `folder` is used."""
    fetched = fetch_file(source.repo, source.path, source.revision, folder / ".hub")
    os.replace(fetched.path, part)
    return f"{source.repo}@{fetched.commit}/{source.path}", fetched.sha256


def _tell(url: str, state: RetryCallState) -> None:
    """Say why an attempt failed, before the next one."""
    if state.outcome and (error := state.outcome.exception()):
        log.warning("%s: %s", masked(url), reason(error))


def may_pass(error: BaseException) -> bool:
    """Whether it may help to ask a server again."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code in _BUSY
    # Those of requests that are ValueErrors say that an address is none.
    return isinstance(error, requests.RequestException) and not isinstance(error, ValueError)


def reason(error: BaseException) -> str:
    """What went wrong, in one line without secrets."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server says {error.response.status_code} {error.response.reason}"
    words = {
        requests.exceptions.InvalidURL: "no valid address, of the file or of a proxy",
        requests.exceptions.ChunkedEncodingError: "the download ended early",
        requests.Timeout: "no answer in time",
        requests.ConnectionError: "no connection",
    }
    for kind, said in words.items():
        if isinstance(error, kind):
            return said
    return masked(" ".join(str(error).split()))
