"""A judge on this machine: what it is asked, what counts as an answer, killed and resumed."""

import json
import logging
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from modeledit.evaluation.judgements import question, write_questions
from modeledit.fetch import download
from modeledit.fetch.download import ATTEMPTS
from modeledit.fetch.judge import JudgeError, Server, verdict_of
from modeledit.io.files import FileError
from modeledit.study.observation import Judge
from scripts.judge import ANSWERS, judge

ROOT = Path(__file__).parents[2]
KEY = "sk-a-key-that-nobody-may-see"
ASKED = [question(f"City {number} is in", " Peru", "Peru") for number in range(6)]
RUN = """
import sys
from pathlib import Path
from modeledit.study.observation import Judge
from scripts.judge import judge
judge(Path(sys.argv[1]), None, Judge(server=sys.argv[2], model="m"), Path(sys.argv[3]))
"""


@pytest.fixture(autouse=True)
def surroundings(monkeypatch):
    monkeypatch.setattr(download, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def stub():
    """A server of chat completions: what it says in turn, and what it was asked."""

    class Stub(BaseHTTPRequestHandler):
        faults: list[object] = []  # a status, or the body of an answer; then all is well
        asked: list[dict] = []
        keys: list[str | None] = []
        stops_at = 0  # the number of the question that is not answered before `going_on`
        reached, going_on = Event(), Event()

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.asked.append({"path": self.path, **json.loads(body)})
            self.keys.append(self.headers.get("Authorization"))
            if self.stops_at == len(self.asked):
                self.reached.set()
                self.going_on.wait(60)
            fault = self.faults.pop(0) if self.faults else None
            said = "Yes." if len(self.asked) % 2 else "no"
            answer = {"choices": [{"message": {"content": said}}]}
            text = fault if isinstance(fault, str) else json.dumps(answer)
            try:
                self.send_response(fault if isinstance(fault, int) else 200)
                self.send_header("Content-Length", str(len(text)))
                self.send_header("Location", "http://127.0.0.1:1/")
                self.end_headers()
                self.wfile.write(text.encode())
            except OSError:  # who asked was killed
                pass

        def log_message(self, *_):
            pass

    for name in ("faults", "asked", "keys"):
        setattr(Stub, name, [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Stub) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        Stub.address = f"http://127.0.0.1:{server.server_port}/v1"
        yield Stub
        Stub.going_on.set()
        server.shutdown()


@pytest.fixture
def files(tmp_path):
    """Questions, and where the judgements of them go."""
    write_questions(tmp_path / "judge_prompts.jsonl", ASKED)
    return tmp_path / "judge_prompts.jsonl", tmp_path / "judgements.jsonl"


def judgements(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_server_is_asked_once_for_each_question(stub, files):
    prompts, output = files
    judge(prompts, None, Judge(server=stub.address, model="small"), output)
    assert judgements(output) == [
        {"id": one.id, "verdict": number % 2 == 0, "source": f"{stub.address} small"}
        for number, one in enumerate(ASKED)
    ]
    assert stub.asked[0] == {
        "path": "/v1/chat/completions",
        "model": "small",
        "messages": [{"role": "user", "content": ASKED[0].text}],
        "temperature": 0,
        "max_tokens": 16,
    }
    assert stub.keys == [None] * len(ASKED)
    judge(prompts, None, Judge(server=stub.address, model="small"), output)
    assert len(stub.asked) == len(ASKED)  # all answers were known
    judge(prompts, None, Judge(server=stub.address), output)
    assert len(stub.asked) == 2 * len(ASKED)  # another judge
    assert "model" not in stub.asked[-1]


@pytest.mark.parametrize(
    ("said", "verdict"),
    [("yes", True), (" **No**.", False), ("YES!", True), ("yes and no", None), ("", None)],
)
def test_anything_but_the_word_is_no_verdict(said, verdict):
    assert verdict_of(said) is verdict


def test_an_answer_without_text_is_no_verdict(stub):
    stub.faults = ['{"choices": [{"message": {"content": null}}]}']
    assert Server(stub.address).verdict("?") is None


def test_the_key_is_sent_and_never_shown(stub, files, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    prompts, output = files
    stub.faults = [503]
    judge(prompts, None, Judge(server=stub.address), output)
    assert set(stub.keys) == {f"Bearer {KEY}"}
    stub.faults = [401]
    with pytest.raises(JudgeError) as error:
        Server(stub.address).verdict("?")
    assert "401 Unauthorized; answers that came are kept" in str(error.value)
    shown = [str(error.value), caplog.text, *(path.read_text() for path in output.parent.iterdir())]
    assert not any(KEY in text for text in shown)


@pytest.mark.parametrize(
    ("faults", "asked", "said"),
    [
        ([500] * ATTEMPTS, ATTEMPTS, "the server says 500"),
        ([404], 1, "the server says 404"),
        ([307], 1, "the server says 307"),  # the key is for this server alone
        (["<html>"], 1, "its answer is no chat completion; name the address in front of"),
        (['{"choices": []}'], 1, "its answer is no chat completion"),
        (['{"choices": [{"message": {"content": 7}}]}'], 1, "its answer is no chat completion"),
    ],
)
def test_a_server_that_does_not_do_is_named(stub, faults, asked, said):
    stub.faults = list(faults)
    with pytest.raises(JudgeError) as error:
        Server(stub.address).verdict("?")
    assert str(error.value).startswith(f"evaluation.judge.server = '{stub.address}': {said}")
    assert len(stub.asked) == asked


@pytest.mark.parametrize("faults", [[500, 503], [429]])
def test_what_may_pass_is_tried_again(stub, faults):
    stub.faults = list(faults)
    assert Server(stub.address).verdict("?") is (len(faults) % 2 == 0)
    assert len(stub.asked) == len(faults) + 1


def test_nobody_there():
    with pytest.raises(JudgeError, match="127.0.0.1:1/v1': no connection; answers that came"):
        Server("http://127.0.0.1:1/v1").verdict("?")


def test_a_killed_job_goes_on_where_it_was(stub, files):
    prompts, output = files
    stub.stops_at = 4
    command = [sys.executable, "-c", RUN, str(prompts), stub.address, str(output)]
    job = subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=subprocess.DEVNULL)
    try:
        assert stub.reached.wait(60)
    finally:
        job.send_signal(signal.SIGKILL)
        job.wait()
    stub.going_on.set()
    answers = output.with_name(ANSWERS)
    assert not output.exists() and len(judgements(answers)) == 3
    with answers.open("a") as stream:  # a line that was being written
        stream.write('{"id": "ab')
    judge(prompts, None, Judge(server=stub.address, model="m"), output)
    asked = [one["messages"][0]["content"] for one in stub.asked]
    texts = [one.text for one in ASKED]
    assert asked == texts[:4] + texts[3:]  # the one without an answer again, none else
    assert [one["id"] for one in judgements(output)] == [one.id for one in ASKED]
    assert len(judgements(answers)) == len(ASKED)


def test_verdicts_of_a_file(files, caplog):
    caplog.set_level(logging.INFO)
    prompts, output = files
    verdicts = output.with_name("mine.jsonl")
    known = {ASKED[0].id: True, ASKED[2].id: False, ASKED[3].id: None, "else": True}
    lines = [json.dumps({"id": id_, "verdict": verdict}) for id_, verdict in known.items()]
    verdicts.write_text("\n".join(lines) + "\n")
    judge(prompts, verdicts, Judge(verdicts="mine.jsonl"), output)
    assert [(one["verdict"], one["source"]) for one in judgements(output)] == [
        (True, "mine.jsonl"),
        (None, None),
        (False, "mine.jsonl"),
        (None, "mine.jsonl"),
        (None, None),
        (None, None),
    ]
    for said in (
        "3 of 6 questions are not in it",
        "1 verdicts are about no",
        "4 without a verdict",
    ):
        assert said in caplog.text
    verdicts.write_text('{"id": "a", "verdict": "maybe"}\n')
    with pytest.raises(FileError, match='mine.jsonl, line 1: field .verdict.: .*got "maybe"'):
        judge(prompts, verdicts, Judge(verdicts="mine.jsonl"), output)
