"""A job's log, and files that packages carry."""

import base64
import hashlib
import io
import logging
import re
import sys
import zipfile
from pathlib import Path

import pytest

from modeledit.fetch.wheel import PackageError, fetch_member
from modeledit.io.files import StateError
from modeledit.io.log import ERASE, Reached, journal, progress, reached, seconds_taken


def test_the_log_has_times_and_standard_error(tmp_path, capsys):
    path = tmp_path / "logs" / "job.log"
    with journal(str(path)) as log:
        log.info("%d requests", 3)
        logging.getLogger("modeledit.editing.optimization").info("targets found")
        logging.getLogger("elsewhere").warning("take care")
        print("a library says", file=sys.stderr)
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    lines = path.read_text(encoding="utf-8").splitlines()
    patterns = [f"{time} 3 requests", f"{time} targets found", f"{time} take care"]
    finished = rf"{time} finished in \d\.\d s, with \d+ MB of memory at most"
    for line, pattern in zip(lines, [*patterns, "a library says", finished], strict=True):
        assert re.fullmatch(pattern, line)
    assert capsys.readouterr().err == ""


def test_progress_goes_to_the_log(tmp_path, capsys):
    path = tmp_path / "job.log"
    with journal(str(path)), progress(4, "request") as bar:
        for _ in range(4):
            bar.update()
    text = path.read_text(encoding="utf-8")
    assert "0/4" in text and "4/4" in text and "request/s" in text
    assert capsys.readouterr().err == ""


def test_a_log_tells_how_far_its_job_is(tmp_path):
    path = tmp_path / "job.log"
    assert reached(path) is None
    with journal(str(path)) as log:
        log.info("3 requests")
        assert reached(path) is None
        with progress(4, "request") as bar:
            assert reached(path) == Reached("0", "4", "request", 0, None)
            bar.set_postfix(loss="0.123", stopped="50%", refresh=False)
            bar.start_t -= 90  # as if it had taken so long
            bar.update(3)
            bar.refresh()
            assert reached(path) == Reached("3", "4", "request", 90, 30)
            assert seconds_taken(path) is None
        log.info("layer 3: mean residual 0.1")
        assert reached(path) is None
    assert reached(path) is None and 0 <= seconds_taken(path) < 5


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "  9%|9         | 2/22 [00:21<03:18,  9.94s/request, loss=0.050, stopped=100%]",
            Reached("2", "22", "request", 21, 198),
        ),
        (
            " 41%|4    | 412/1000 [1:00:00<1:25:00, 7.02text/s]",
            Reached("412", "1000", "text", 3600, 5100),
        ),
        ("  3%|3    | 1.50G/50.0G [00:10<05:23, 150MB/s]", Reached("1.50G", "50.0G", "B", 10, 323)),
        ("Loading weights:   0%|          | 0/272 [00:00<?, ?it/s]", None),
        ("12.0B [00:00, 1.00MB/s]", None),
    ],
)
def test_the_last_progress_line_counts(tmp_path, line, found):
    path = tmp_path / "job.log"
    path.write_text(f"2026-01-01 00:00:00 started\n\r  0%|   | 0/9 [00:00<?, ?request/s]\r{line}")
    assert reached(path) == found


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_an_error_takes_the_place_of_a_line_of_progress(tmp_path, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with pytest.raises(ValueError), journal(str(tmp_path / "job.log")):
        raise ValueError("no such layer: 9")
    assert terminal.getvalue() == f"{ERASE}ValueError: no such layer: 9\n"


def test_an_error_is_logged_in_full_and_said_on_the_terminal(tmp_path, capsys):
    path = tmp_path / "job.log"
    handlers, stderr = list(logging.getLogger().handlers), sys.stderr
    with pytest.raises(ValueError, match="no such layer"), journal(str(path)) as log:
        log.info("before")
        raise ValueError("no such layer: 9")
    text = path.read_text(encoding="utf-8")
    assert "before\nTraceback (most recent call last):\n" in text
    assert 'raise ValueError("no such layer: 9")' in text
    assert text.endswith("ValueError: no such layer: 9\n")
    assert capsys.readouterr().err == "ValueError: no such layer: 9\n"
    assert logging.getLogger().handlers == handlers and sys.stderr is stderr


def test_a_second_journal_writes_nothing_into_the_first(tmp_path):
    for name in ("first", "second"):
        with journal(str(tmp_path / name)) as log:
            log.info("this is the %s", name)
    for name, other in (("first", "second"), ("second", "first")):
        text = (tmp_path / name).read_text()
        assert f"this is the {name}\n" in text and other not in text


MEMBER = "weights_in_a_wheel/weights.bin"
CONTENT = b"\x00\x01weights" * 1000


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel that carries `MEMBER`, in a folder that is all that pip looks into."""
    info = "weights_in_a_wheel-1.0.dist-info"
    files = {
        MEMBER: CONTENT,
        "weights_in_a_wheel/__init__.py": b"raise RuntimeError('never imported')\n",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: weights-in-a-wheel\nVersion: 1.0\n"
        b"Requires-Dist: a-package-that-nobody-has\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
    }
    record = io.StringIO()
    for name, content in files.items():
        hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record.write(f"{name},sha256={hashed},{len(content)}\n")
    record.write(f"{info}/RECORD,,\n")
    files[f"{info}/RECORD"] = record.getvalue().encode()
    path = tmp_path / "wheels" / "weights_in_a_wheel-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    return path


def pin(folder, sha256):
    path = folder / "requirements.txt"
    path.write_text(f"weights-in-a-wheel==1.0 --hash=sha256:{sha256}\n")
    return path


def test_a_member_is_unpacked(wheel, tmp_path):
    requirements = pin(tmp_path, hashlib.sha256(wheel.read_bytes()).hexdigest())
    folder = tmp_path / "scratch"
    folder.mkdir()
    found = fetch_member(requirements, MEMBER, folder)
    assert found == folder / MEMBER
    assert found.read_bytes() == CONTENT
    assert {p.name for p in folder.iterdir()} == {wheel.name, "weights_in_a_wheel"}
    assert [p.name for p in found.parent.iterdir()] == ["weights.bin"]


def test_a_wheel_with_another_hash_is_refused(wheel, tmp_path, capfd):
    requirements = pin(tmp_path, "0" * 64)
    with pytest.raises(PackageError, match=re.escape(f"{requirements}: pip could not fetch")):
        fetch_member(requirements, MEMBER, tmp_path / "scratch")
    assert "0" * 64 in capfd.readouterr().err  # pip itself says which hash it wanted


def test_a_wheel_without_a_hash_is_refused(wheel, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("weights-in-a-wheel==1.0\n")
    with pytest.raises(PackageError, match="pip could not fetch"):
        fetch_member(requirements, MEMBER, tmp_path / "scratch")


def test_a_wheel_without_the_member_is_refused(wheel, tmp_path):
    requirements = pin(tmp_path, hashlib.sha256(wheel.read_bytes()).hexdigest())
    message = f"{wheel.name} holds no other.bin; correct source.member"
    with pytest.raises(PackageError, match=re.escape(message)):
        fetch_member(requirements, "other.bin", tmp_path / "scratch")


def test_a_refusal_is_its_message_alone(tmp_path, capfd):
    """What was brought is wrong, not the code: no traceback, and the job fails."""
    with pytest.raises(SystemExit) as end, journal(str(tmp_path / "log")):
        raise StateError("state.json: not JSON; delete the file to compute it again")
    assert end.value.code == 1
    line = "StateError: state.json: not JSON; delete the file to compute it again\n"
    assert (tmp_path / "log").read_text() == line == capfd.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_log_without_room_is_named(capsys):
    with pytest.raises(SystemExit), journal("/dev/full"):
        print("a line of progress", file=sys.stderr)
    said = capsys.readouterr().err
    assert said.startswith("DiskError: /dev/full: no space left for this log")
    assert "start the same" in said and "Traceback" not in said
