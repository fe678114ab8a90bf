"""What is asked for by name: judgements of a study from a server, then from a file; benchmarks."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from modeledit.data.requests import read_requests
from modeledit.evaluation.judgements import judged, read_verdicts
from modeledit.evaluation.schemas import BEHAVIOR_VALUES, GENERATIONS
from tests.lm.test_harness import write_task
from tests.workflow.test_plan import job_counts
from tests.workflow.tiny_study import EVALUATION, MODEL, NAME, OPTIONS, evaluate

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("behavior")]

PLACE = f"own-eligible/{MODEL}/NA_MEMIT/trial1"
RUN = f"results/{NAME}/{PLACE}"
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}


class Agreeing(BaseHTTPRequestHandler):
    """A server that says yes to everything."""

    asked: list[str] = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body["messages"][0]["content"])
        answer = json.dumps({"choices": [{"message": {"content": "Yes"}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def test_judgements_of_a_server_and_then_of_a_file(observed):
    made = observed.project
    with ThreadingHTTPServer(("127.0.0.1", 0), Agreeing) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        judge = {"server": f"http://127.0.0.1:{server.server_port}/v1", "model": "m"}
        evaluate(made, **EVALUATION, judge=judge)
        done = made.snakemake("behavior", *OPTIONS, **OFFLINE)
        server.shutdown()
    assert done.returncode == 0, done.stdout[-5000:]
    folder = made.folder / RUN
    verdicts = read_verdicts(folder / "judgements.jsonl")
    assert verdicts and set(verdicts.values()) == {True}
    (requests,) = (made.folder / f"results/{NAME}/own/{MODEL}/eligible").glob("trial1.jsonl")
    objects = {request.id: request.target_new for request in read_requests(requests)}
    states = {"first": GENERATIONS.read(folder / "iter1/generations.parquet")}
    found = judged(states, objects, verdicts, ("edit", "paraphrase"))
    assert set(found["kind"]) == {"edit", "paraphrase"} and set(found["value"]) == {1.0}
    known = next(iter(verdicts))
    (made.folder / "tmp/verdicts.jsonl").write_text(f'{{"id": "{known}", "verdict": false}}\n')
    values = BEHAVIOR_VALUES.read(folder / "behavior.parquet")
    of_judge = values[values["metric"] == "judged_paraphrase"]
    assert set(of_judge["state"]) == {"unedited", "first", "stop"}
    assert set(of_judge["value"]) == {1.0}
    evaluate(made, **EVALUATION, judge={"verdicts": "tmp/verdicts.jsonl"})
    done = made.snakemake("judgements", *OPTIONS)
    assert done.returncode == 0, done.stdout[-5000:]
    assert set(job_counts(done.stdout)) - {"total"} == {"judge", "judgements"}
    again = read_verdicts(folder / "judgements.jsonl")
    assert again == dict.fromkeys(verdicts) | {known: False}


def test_benchmarks_of_an_edited_and_of_the_unedited_model(observed):
    made = observed.project
    write_task(made.folder / "tmp")
    evaluate(made, harness={"tasks": ["cities"], "include": "tmp/tasks"})
    results = [f"results/{NAME}/harness/{one}.json" for one in (f"{PLACE}/iter2", MODEL)]
    home = {"HF_HOME": str(made.folder / "tmp/hf")}
    done = made.snakemake(*results, *OPTIONS, **OFFLINE, **home)
    assert done.returncode == 0, done.stdout[-5000:]
    for path in results:
        found = json.loads((made.folder / path).read_text())
        assert found["tasks"]["cities"]["samples"] == 7
        assert 0 <= found["tasks"]["cities"]["metrics"]["acc"]["value"] <= 1
    again = made.snakemake(*results, *OPTIONS)
    assert "Nothing to be done" in again.stdout, again.stdout[-3000:]
