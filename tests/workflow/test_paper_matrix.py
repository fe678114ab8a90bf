"""The paper's own matrix: planned whole without any download, cut down and fed from small files."""

import json
import os
import random
import re
import resource
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors import safe_open

from modeledit.data.readers import read_counterfact, read_eligible, read_me_ppl
from modeledit.data.requests import read_requests
from modeledit.io.files import read_json
from tests.workflow.conftest import ROOT, Project, copy_project
from tests.workflow.test_architectures import MODELS, describe
from tests.workflow.test_plan import job_counts

pytestmark = pytest.mark.xdist_group("matrix")  # they share a copy of the project

PAPER = ("--configfile", "config/paper.yaml")
CUT = (*PAPER, "config/paper_cut.yaml")
ORIGINAL = ROOT.parent / "shared" / "data"
original = pytest.mark.skipif(
    not ORIGINAL.is_dir(), reason="the original data is not beside the repository"
)
NETWORK = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}  # none


@pytest.fixture
def no_network(monkeypatch):
    for name, value in NETWORK.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setenv(name.lower(), value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("MODELEDIT_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)


def edits_by_kind(output: str) -> Counter[str]:
    """Edit jobs of a dry run by dataset, model and method, from their messages."""
    told = re.findall(r"^Job \d+: (\S+) iteration \d+ on (\S+), (\S+), trial \d+$", output, re.M)
    return Counter(f"{dataset} {model} {method}" for method, dataset, model in told)


def test_the_whole_matrix_is_planned_in_a_minute_without_a_network(untouched, no_network):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = untouched.snakemake("--dry-run", *PAPER)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # of CPU time, which other work on the machine does not lengthen
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"the plan of the whole matrix took {seconds:.1f} s of CPU time")
    assert done.returncode == 0, done.stdout[-3000:]
    counts = job_counts(done.stdout)
    assert counts["edit"] == 385
    assert 0 < seconds < 60
    by_kind = edits_by_kind(done.stdout)
    assert sum(by_kind.values()) == 385
    # SPEC G.2: iterations of each block, with three full trials.
    blocks = {"counterfact": 150, "zsre": 150, "counterfact-eligible": 85}
    for dataset, jobs in blocks.items():
        assert sum(n for k, n in by_kind.items() if k.startswith(f"{dataset} ")) == jobs
    assert by_kind["counterfact gpt2-xl PMET"] == by_kind["zsre gpt2-xl PMET"] == 3 * 10
    assert by_kind["counterfact-eligible llama-2-7b NA_PMET"] == 10
    assert "counterfact-eligible llama-2-7b MEMIT" not in by_kind
    # Ten of the authors' files and the second moments of 5 + 6 + 5 layers.
    assert counts["download"] == 10 + 16
    assert counts["read_trial"] == 6 and counts["read_eligible"] == 3
    assert counts["prepare_model"] == counts["convert_covariance"] == 3
    assert counts["check_access"] == 1  # Llama-2 alone is gated
    assert not (untouched.folder / "resources").exists()


def test_the_cut_matrix_has_every_kind_of_run(untouched, no_network):
    done = untouched.snakemake("--dry-run", *CUT)
    assert done.returncode == 0, done.stdout[-3000:]
    counts = job_counts(done.stdout)
    assert counts["download"] == 3 + 3 + 1 + 1
    assert counts["edit"] == (6 + 1 + 9) + (12 + 1) + (6 + 9)
    paper, cut = (
        yaml.safe_load((untouched.folder / name).read_text()) for name in (PAPER[1], CUT[2])
    )
    kinds = [
        {(b["dataset"], b["requests"], m) for b in config["runs"] for m in b["methods"]}
        for config in (paper, cut)
    ]
    assert kinds[0] == kinds[1]


# The sources of the covariance

TINY = "tiny-gpt2"
LAYERS = [1, 2]
WIDTH = 128


def tiny_config(source: str) -> dict:
    return {
        "name": f"covariance-{source}",
        "trials": {"count": 1, "size": 4},
        "text": {"covariance_articles": 4, "covariance_length": 256, "perplexity_texts": 5},
        "covariance": {"source": source, "articles": 30, "length": 64, "checkpoint": 7},
        "runs": [
            {"dataset": "geography", "requests": "all", "models": [TINY], "methods": ["MEMIT"]}
        ],
    }


@pytest.fixture(scope="module")
def nothing():
    """The address of a web server that has nothing."""

    class Nothing(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def small(tmp_path_factory, nothing) -> Project:
    """A copy with a tiny model, its published covariances and a small dump in an offline folder."""
    project = copy_project(tmp_path_factory.mktemp("matrix"))
    how, folder = MODELS[TINY], project.folder / "tmp" / "models" / TINY
    model = how.build()
    model.save_pretrained(folder)
    how.tokenizer().save_pretrained(folder)
    description = yaml.safe_dump(describe(TINY, model.config), sort_keys=False)
    (project.folder / "config/models" / f"{TINY}.yaml").write_text(description)

    sources = project.folder / "config/sources.yaml"
    described = yaml.safe_load(sources.read_text())
    described["statistics"]["models"][TINY] = "stats/tiny/layer{layer}.npz"
    described["wikipedia"]["shards"] = 3
    described["places"] = {name: [f"{nothing}/{name}"] for name in described["places"]}
    sources.write_text(yaml.safe_dump(described))
    offline = project.folder / "tmp" / "offline"
    (offline / "stats/tiny").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for layer in LAYERS:
        keys = rng.normal(size=(500, WIDTH)).astype(np.float32)
        members = {"mom2.mom2": keys.T @ keys, "mom2.count": 500}
        np.savez(offline / "stats/tiny" / f"layer{layer}.npz", **members)
    words = [chr(97 + i) + chr(97 + j) for i in range(26) for j in range(26)]
    dump = offline / described["wikipedia"]["dump"]
    dump.mkdir()
    for i in range(3):
        pick = random.Random(i)
        texts = [" ".join(pick.choices(words, k=60)) for _ in range(40)]
        path = dump / f"train-{i:05d}-of-00003.parquet"
        pq.write_table(pa.table({"text": texts}), path, row_group_size=10)
    return project


def statistics(project: Project, config: dict) -> tuple[Path, str]:
    path = project.folder / "tmp" / f"{config['name']}.yaml"
    path.write_text(yaml.safe_dump(config))
    command = ("--configfile", str(path), "--config", "offline=tmp/offline")
    done = project.snakemake(*command, "--", "statistics")
    folder = project.folder / "results" / config["name"] / "statistics" / TINY
    return folder, done.stdout if done.returncode else ""


@pytest.mark.slow
@pytest.mark.parametrize("source", ["fast", "recompute", "authors"])
def test_every_source_of_the_covariance_gives_factors(small, no_network, source):
    folder, trouble = statistics(small, tiny_config(source))
    assert not trouble, trouble[-5000:]
    with safe_open(folder / "covariance.safetensors", framework="numpy") as stream:
        metadata = stream.metadata()
        covariances = {name: stream.get_tensor(name) for name in stream.keys()}
    assert metadata["source"] == source and metadata["layers"] == "1 2"
    tokens = {"fast": 10 * WIDTH, "authors": 500}.get(source)
    assert tokens is None or int(metadata["tokens"]) == tokens
    log = small.folder / "logs" / f"covariance-{source}" / "statistics" / TINY / "covariance.log"
    assert ("a rough covariance" in log.read_text()) == (source == "fast")
    if source == "recompute":
        assert 30 * 40 < int(metadata["tokens"]) <= 30 * 64
    if source == "authors":
        published = np.load(small.folder / "tmp/offline/stats/tiny/layer2.npz")["mom2.mom2"] / 500
        np.testing.assert_allclose(covariances["layer2"], published, rtol=1e-6)
    with safe_open(folder / "factors.safetensors", framework="numpy") as stream:
        assert stream.metadata()["source"] == source
        assert (stream.metadata()["ridge1"], stream.metadata()["ridge2"]) == ("0", "0")
        for name, covariance in covariances.items():
            factor = stream.get_tensor(name)
            np.testing.assert_allclose(factor @ factor.T, covariance, rtol=1e-4, atol=1e-6)
    assert not list(folder.glob("*.partial.safetensors"))


@pytest.mark.slow
def test_a_covariance_of_another_recipe_is_refused(small, no_network):
    """Even where Snakemake is told to look at times alone."""
    config = tiny_config("fast") | {"name": "covariance-refused"}
    folder, trouble = statistics(small, config)
    assert not trouble, trouble[-5000:]
    (folder / "factors.safetensors").unlink()
    path = small.folder / "tmp" / "covariance-refused.yaml"
    path.write_text(yaml.safe_dump(config | {"seed": 7}))
    command = ("--configfile", str(path), "--config", "offline=tmp/offline")
    target = os.fspath((folder / "factors.safetensors").relative_to(small.folder))
    done = small.snakemake(*command, "--rerun-triggers", "mtime", "--", target)
    assert done.returncode != 0
    assert "seed is '42', this run needs '7'; delete the file" in done.stdout, done.stdout[-3000:]


# Downloads


@original
def test_the_authors_requests_become_trials(small, monkeypatch):
    monkeypatch.setenv("MODELEDIT_OFFLINE", str(ORIGINAL))
    text = "results/paper_cut/text/perplexity.jsonl"
    done = small.snakemake(*CUT, "--", "requests", text)
    assert done.returncode == 0, done.stdout[-3000:]
    results = small.folder / "results" / "paper_cut"
    for trial, subset in enumerate((1, 10, 15), start=1):
        ours = read_requests(results / "counterfact" / "trials" / f"trial{trial}.jsonl")
        theirs = read_counterfact(ORIGINAL / "counterfact" / f"random_subset_{subset}.json")
        assert ours == theirs[:4]
    ours = read_requests(results / "counterfact" / "smollm2-135m" / "eligible/authors.jsonl")
    assert ours == read_eligible(ORIGINAL / "neighbors" / "random_subset_739.json")[:4]
    texts = [json.loads(line) for line in (small.folder / text).read_text().splitlines()]
    assert texts == read_me_ppl(ORIGINAL / "ME-PPL_50.json")
    fetched = small.folder / "resources/downloads/zsre/random_subset_15.json"
    record = read_json(fetched.with_name(f"{fetched.name}.record.json"))
    assert record["origin"] == str(ORIGINAL / "zsre" / fetched.name)
    assert record["bytes"] == fetched.stat().st_size
    again = small.snakemake("--dry-run", *CUT, "--", "requests", text)
    assert "Nothing to be done" in again.stdout


def test_a_file_that_cannot_be_had_is_said(small, no_network, tmp_path):
    target = "resources/downloads/neighbors/random_subset_960.json"
    held = tmp_path / "neighbors" / "random_subset_960.json"
    held.parent.mkdir()
    held.write_text("[]")
    done = small.snakemake(*PAPER, "--config", f"offline={tmp_path}", "--", target)
    assert done.returncode != 0
    for part in ("DownloadError", str(held), "sha256 is 4f53cda1", "expected c29fdd0a", "404"):
        assert part in done.stdout, done.stdout[-3000:]
    assert not (small.folder / target).exists()


@pytest.fixture
def refusing_hub(monkeypatch):
    """A hub on this machine that gives nothing to whoever shows no token."""

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(401)
            self.send_header("X-Error-Code", "GatedRepo")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


def test_a_missing_token_shows_before_anything_expensive(small, monkeypatch, refusing_hub):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_HOME", str(small.folder / "tmp" / "hf"))
    target = "resources/models/llama-2-7b"
    planned = small.snakemake("--dry-run", *PAPER, "--", target)
    assert planned.returncode == 0 and job_counts(planned.stdout)["check_access"] == 1
    done = small.snakemake(*PAPER, "--", target)
    assert done.returncode != 0
    for part in ("HubError: meta-llama/Llama-2-7b-hf", "accept the licence", "HF_TOKEN"):
        assert part in done.stdout, done.stdout[-3000:]
    assert "Preparing a float32" not in done.stdout
