"""Published files: whole or not there, from the offline folder, the web or the hub."""

import base64
import errno
import hashlib
import logging
import os
import subprocess
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants

from modeledit.fetch import download
from modeledit.fetch import download as downloads
from modeledit.fetch.download import ATTEMPTS, DownloadError, fetch, find_offline, offline_folder
from modeledit.fetch.hub import HubError, check_access
from modeledit.io.files import file_digest
from modeledit.study.published_files import Source

BODY = os.urandom(3_000_000)
SHA = hashlib.sha256(BODY).hexdigest()
COMMIT = "0123456789" * 4


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT", 0.001)


@pytest.fixture
def web(monkeypatch):
    """A web server on this machine: what it does with each request, in turn, and what was asked."""

    class Web(BaseHTTPRequestHandler):
        faults: list[object] = []  # None, a status, "short" or "wrong"; then all is well
        turned = False  # whether every file comes backwards, of the right length
        asked: list[str] = []
        passwords: list[str] = []  # user:password of the requests that had one
        length = ""  # what is said of the length, instead of the truth

        def do_GET(self):
            self.asked.append(f"{self.command} {self.path}")
            if given := self.headers.get("Authorization", "").removeprefix("Basic "):
                self.passwords.append(base64.b64decode(given).decode())
            fault = self.faults.pop(0) if self.faults else None
            body = b"an error page" if fault == "wrong" else BODY[::-1] if self.turned else BODY
            self.send_response(fault if isinstance(fault, int) else 200)
            self.send_header("Content-Length", self.length or str(len(body)))
            self.send_header("ETag", f'"{SHA}"')
            self.send_header("X-Repo-Commit", COMMIT)
            if fault == 403:
                self.send_header("X-Error-Code", "GatedRepo")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[:1000] if fault == "short" else body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        Web.address = f"http://127.0.0.1:{server.server_port}"
        yield Web
        server.shutdown()


def source(*urls, sha256=SHA, **fields):
    return Source("set/facts.json", "published/facts.json", sha256, urls, **fields)


def refused(tmp_path, described, offline=None):
    """The message of a refusal; nothing may be left where the file should be."""
    with pytest.raises(DownloadError) as error:
        fetch(described, tmp_path / "to" / "facts.json", offline)
    assert [path.name for path in (tmp_path / "to").iterdir() if path.name != ".hub"] == []
    return str(error.value)


def test_a_file_from_the_web(web, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    target = tmp_path / "to" / "facts.json"
    record = fetch(source(f"{web.address}/facts.json"), target)
    assert target.read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == ["facts.json"]
    assert record == {
        "name": "set/facts.json",
        "origin": f"{web.address}/facts.json",
        "sha256": SHA,
        "bytes": len(BODY),
    }
    assert SHA in caplog.text


@pytest.mark.parametrize("faults", [["short"], ["short", "short"], [500, 503], [429, "short"]])
def test_what_may_pass_is_tried_again(web, tmp_path, faults):
    web.faults, web.asked = list(faults), []
    fetch(source(f"{web.address}/facts.json"), tmp_path / "facts.json")
    assert (tmp_path / "facts.json").read_bytes() == BODY
    assert len(web.asked) == len(faults) + 1


def test_the_pauses_grow(web, tmp_path, monkeypatch):
    web.faults, pauses = [500] * (ATTEMPTS - 1), []
    monkeypatch.setattr(download, "FIRST_WAIT", 1.0)
    monkeypatch.setattr("tenacity.nap.time.sleep", pauses.append)
    fetch(source(f"{web.address}/facts.json"), tmp_path / "facts.json")
    assert pauses == [1, 2, 4, 8]


@pytest.mark.parametrize(
    ("fault", "asked", "said"),
    [
        (404, 1, "404 Not Found"),  # asking again would not help
        (500, ATTEMPTS, "500 Internal Server Error"),
        ("short", ATTEMPTS, "the download ended early"),
    ],
)
def test_what_stays_broken_is_said_once(web, tmp_path, fault, asked, said):
    web.faults, web.asked = [fault] * asked, []
    message = refused(tmp_path, source(f"{web.address}/facts.json"))
    assert len(web.asked) == asked
    for part in ("set/facts.json", f"{web.address}/facts.json", said, "`offline`", "network"):
        assert part in message, message
    fetch(source(f"{web.address}/facts.json"), tmp_path / "facts.json")  # a later run goes on


def test_wrong_bytes_are_named_and_do_not_stay(web, tmp_path):
    web.faults = ["wrong"]
    message = refused(tmp_path, source(f"{web.address}/facts.json"))
    assert f"expected {SHA}" in message
    assert "its sha256 is " in message and "put the right file as set/facts.json" in message


def test_the_next_address_helps(web, tmp_path):
    web.faults, web.asked = ["wrong"], []
    record = fetch(source(f"{web.address}/one", f"{web.address}/two"), tmp_path / "facts.json")
    assert record["origin"] == f"{web.address}/two"
    assert web.asked == ["GET /one", "GET /two"]


def test_without_a_digest_the_one_found_is_recorded(web, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    record = fetch(source(f"{web.address}/facts.json", sha256=None), tmp_path / "facts.json")
    assert record["sha256"] == SHA == file_digest(tmp_path / "facts.json")
    assert "no published digest" in caplog.text


def test_without_network_and_folder_both_ways_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    message = refused(tmp_path, source("http://127.0.0.1:9/facts.json"))
    for part in ("no connection", "network", "MODELEDIT_OFFLINE", "there is none now"):
        assert part in message, message


# The offline folder


@pytest.mark.parametrize(
    "place", ["set/facts.json", "facts.json", "published/facts.json", "deep/down/facts.json"]
)
def test_an_offline_file_needs_no_network(tmp_path, place):
    held = tmp_path / "held" / place
    held.parent.mkdir(parents=True)
    held.write_bytes(BODY)
    record = fetch(source(), tmp_path / "facts.json", tmp_path / "held")
    assert (tmp_path / "facts.json").read_bytes() == held.read_bytes() == BODY
    assert record["origin"] == str(held)


def test_of_two_files_of_a_name_the_digest_decides(tmp_path):
    for place, body in (("a/facts.json", b"other"), ("b/facts.json", BODY)):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_bytes(body)
    assert find_offline(source(), tmp_path) == tmp_path / "b/facts.json"
    # Without a digest only its own path says which is meant.
    assert find_offline(source(sha256=None), tmp_path) is None


def test_a_wrong_offline_file_is_named(web, tmp_path):
    held = tmp_path / "held" / "set" / "facts.json"
    held.parent.mkdir(parents=True)
    held.write_bytes(b"not it")
    message = refused(tmp_path, source(), tmp_path / "held")
    for part in (str(held), SHA, hashlib.sha256(b"not it").hexdigest()):
        assert part in message, message
    # Where there is a network, the right one is fetched nevertheless.
    record = fetch(source(web.address), tmp_path / "facts.json", tmp_path / "held")
    assert record["origin"] == web.address


def test_the_offline_folder_is_configured_or_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("MODELEDIT_OFFLINE", raising=False)
    assert offline_folder(None) is None
    monkeypatch.setenv("MODELEDIT_OFFLINE", str(tmp_path))
    assert offline_folder(None) == tmp_path
    (tmp_path / "own").mkdir()
    assert offline_folder(str(tmp_path / "own")) == tmp_path / "own"
    monkeypatch.setenv("MODELEDIT_OFFLINE", str(tmp_path / "gone"))
    with pytest.raises(DownloadError, match="MODELEDIT_OFFLINE = .*gone.*no such folder"):
        offline_folder(None)


# A full disk


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("offline", [True, False])
def test_a_full_disk_is_said_and_nothing_stays(web, small_disk, tmp_path, offline):
    (tmp_path / "facts.json").write_bytes(BODY)
    with pytest.raises(DownloadError, match="set/facts.json: no space left .*make room"):
        fetch(source(web.address), small_disk / "facts.json", tmp_path if offline else None)
    assert list(small_disk.iterdir()) == []


def test_another_error_of_the_disk_is_not_called_full(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(downloads.shutil, "copyfile", fail)
    (tmp_path / "facts.json").write_bytes(BODY)
    with pytest.raises(OSError, match="broken"):
        fetch(source(), tmp_path / "to" / "facts.json", tmp_path)


# The hub


@pytest.fixture
def hub(web, monkeypatch):
    """The web server as a hub."""
    monkeypatch.setattr(constants, "ENDPOINT", web.address)
    files = web.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    web.asked = []
    return web


HUB = {"repo": "some/data", "revision": "main", "sha256": None}


def test_a_file_of_the_hub_is_recorded_with_its_commit(hub, tmp_path):
    target, described = tmp_path / "to" / "facts.json", source(**HUB)
    record = fetch(described, target)
    assert target.read_bytes() == BODY
    assert record["origin"] == f"some/data@{COMMIT}/published/facts.json"
    assert f"HEAD /datasets/some/data/resolve/main/{described.path}" in hub.asked
    assert hub.asked[-1] == f"GET /datasets/some/data/resolve/{COMMIT}/{described.path}"
    assert not list(target.parent.rglob("*.part"))


def test_a_file_of_the_hub_is_held_against_the_hubs_digest(hub, tmp_path):
    hub.turned = True
    message = refused(tmp_path, source(**HUB))
    assert f"its sha256 is {hashlib.sha256(BODY[::-1]).hexdigest()}, expected {SHA}" in message


def test_without_the_hub_the_other_way_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError) as error:
        fetch(source(**HUB), tmp_path / "facts.json")
    for part in ("some/data", "set/facts.json", "`offline`"):
        assert part in str(error.value)


def test_access_is_refused_with_what_to_do(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    hub.faults = [403] * 4
    with pytest.raises(HubError, match="some/model at revision .* accept the licence .* HF_TOKEN"):
        check_access("some/model", COMMIT, gated=True)
    hub.faults = []
    check_access("some/model", COMMIT, gated=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check_access("some/model", COMMIT, gated=True)  # what is in the cache will do


def test_a_part_file_left_by_a_killed_run_is_no_file(web, tmp_path):
    left = Path(tmp_path / ".facts.json.1.part")
    left.write_bytes(BODY[:10])
    fetch(source(web.address), tmp_path / "facts.json")
    assert (tmp_path / "facts.json").read_bytes() == BODY


# Secrets


def with_password(address):
    return address.replace("http://", "http://somebody:s3cret-word@")


def test_a_password_is_used_but_neither_said_nor_recorded(web, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    web.faults = [500, 404]
    addresses = [f"{with_password(web.address)}/{name}" for name in ("one", "two")]
    record = fetch(source(*addresses), tmp_path / "facts.json")
    assert record["origin"] == f"{web.address}/two".replace("http://", "http://***@")
    assert "s3cret-word" not in caplog.text and "somebody" not in caplog.text
    assert "http://***@127.0.0.1" in caplog.text
    assert web.passwords == ["somebody:s3cret-word"] * 3


@pytest.mark.parametrize(
    "address", ["http://somebody:s3cret-word@[::1/x", "http://somebody:s3cret/word@host/x"]
)
def test_an_address_that_is_none_is_refused_without_its_password(tmp_path, address):
    message = refused(tmp_path, source(address))
    assert "s3cret" not in message and "somebody" not in message


def test_a_password_may_stand_in_netrc(web, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password pass-word\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    web.passwords = []
    record = fetch(source(f"{web.address}/facts.json"), tmp_path / "facts.json")
    assert web.passwords == ["me:pass-word"]
    assert record["origin"] == f"{web.address}/facts.json"


def test_a_proxys_password_is_not_said(tmp_path, monkeypatch):
    for proxy in ("http://somebody:s3cret-word@127.0.0.1:9", "somebody:s3cret-word@[::1"):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert "s3cret" not in refused(tmp_path, source("http://127.0.0.1:9/facts.json"))


def test_the_hubs_errors_hold_neither_password_nor_token(hub, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(constants, "ENDPOINT", with_password(hub.address))
    files = with_password(hub.address) + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789abcdef")
    for ask in (
        lambda: fetch(source(**HUB), tmp_path / "facts.json"),
        lambda: check_access("some/model", COMMIT, gated=False),
    ):
        hub.faults = [418] * 8
        with pytest.raises((DownloadError, HubError)) as error:
            ask()
        said = "".join(traceback.format_exception(error.value)) + caplog.text
        assert "some/" in said
        assert "s3cret-word" not in said and "hf_0123456789abcdef" not in said


def test_what_the_hubs_library_logs_holds_no_secrets(caplog):
    for name in ("huggingface_hub.utils._http", "huggingface_hub.file_download", "httpx"):
        caplog.clear()
        logging.getLogger(name).warning("%s: GET http://me:s3cret@hub/x failed", "error")
        assert caplog.messages == ["error: GET http://***@hub/x failed"]


def test_a_length_that_is_no_number_is_no_matter(web, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "length", "many", raising=False)
    fetch(source(f"{web.address}/facts.json"), tmp_path / "facts.json")
    assert (tmp_path / "facts.json").read_bytes() == BODY
