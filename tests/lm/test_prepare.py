"""The described models: the specification's numbers, and how a model is fetched and prepared."""

import hashlib
import json
import re
import shutil
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from huggingface_hub import constants

from modeledit.fetch.hub import HubError, fetch_model
from modeledit.io.files import file_digest, read_json
from modeledit.io.prepared import file_digests, read_prepared, weights_digest
from modeledit.lm.model import ModelError, load_model
from modeledit.lm.prepare import prepare_folder
from modeledit.study.checks import check_model
from modeledit.study.config import described_model
from modeledit.study.hyperparameters import Cut
from modeledit.study.models import ModelShape
from tests.reference.models import tiny_gpt2, tiny_gptj, tiny_llama, tiny_tokenizer

ROOT = Path(__file__).parents[2]
MODELS = {
    path.stem: described_model(path.stem, ROOT)
    for path in sorted((ROOT / "config" / "models").glob("*.yaml"))
}
SPEC = (ROOT / "docs" / "SPEC.md").read_text("utf-8")


# Descriptions


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_the_layers_that_it_edits(name):
    assert list(check_model(name, MODELS[name])) == []


PAPER = ["gpt2-xl", "gpt-j-6b", "llama-2-7b", "llama-3-8b"]
SECTIONS = {"MEMIT": "B.1", "PMET": "B.2", "ROME": "B.3"}
KEYS = {
    "layers": "layers",
    "layer": "layers",
    "v_lr": "lr",
    "v_num_grad_steps": "steps",
    "clamp_norm_factor": "clamp",
    "v_weight_decay": "weight_decay",
    "kl_factor": "kl_factor",
    "nll_loss_factor": "nll_factor",
    "mom2_update_weight": "covariance_weight",
}


def specified(section, model):
    """{row: cell} of a model's column in a table of the specification; a note in a cell is cut."""
    part = SPEC.split(f"\n### {section} ")[1].split("\n### ")[0]
    table = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    first_words = [[(cell.split() or [""])[0] for cell in row] for row in table]
    column = [name.lower() for name in first_words[0]].index(model)
    return {row[0]: row[column] for row in first_words[2:]}


def number(row, cell):
    if row in ("layers", "layer"):
        first, _, last = cell.partition("-")
        return tuple(range(int(first), int(last or first) + 1))
    return float(cell)


@pytest.mark.parametrize("model", PAPER)
@pytest.mark.parametrize("algorithm", SECTIONS)
def test_hyperparameters_are_the_specified_ones(algorithm, model):
    cells = specified(SECTIONS[algorithm], model)
    expected = {KEYS[row]: number(row, cell) for row, cell in cells.items() if row in KEYS}
    assert vars(MODELS[model].hyperparameters(algorithm)) == {"nll_factor": 1.0} | expected
    assert MODELS[model].depth - 1 == int(cells["v_loss_layer"])  # the loss is the last block's


@pytest.mark.parametrize("model", PAPER)
def test_alphaedits_hyperparameters_are_the_specified_ones(model):
    """Section B.4 puts several numbers in a cell, "same" for those of the first model."""
    part = SPEC.split("\n### B.4 ")[1].split("\n---")[0]
    table = [line.strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    column = [cell.strip().lower() for cell in table[0]].index(model)
    cells = {row[0].strip(): (row[1], row[column]) for row in table[2:]}

    def numbers(row):
        first, own = cells[row]
        return [float(n) for n in (first if own.strip() == "same" else own).split("/")]

    lr, steps = numbers("v_lr / steps")
    clamp, weight_decay, kl_factor = numbers("clamp / wd / kl")
    threshold, l2 = numbers("nullspace_threshold / L2")
    assert vars(MODELS[model].hyperparameters("AlphaEdit")) == {
        "layers": number("layers", cells["layers"][1].strip()),
        "lr": lr,
        "steps": steps,
        "clamp": clamp,
        "weight_decay": weight_decay,
        "kl_factor": kl_factor,
        "nll_factor": 1.0,
        "null_space": Cut(kind="threshold", value=threshold),
        "l2": l2,
    }
    assert MODELS[model].depth - 1 == int(cells["v_loss_layer"][1])


def test_sizes_are_the_specified_ones():
    (line,) = re.findall(r"^- Sizes: .*$", SPEC, re.MULTILINE)
    sizes = [tuple(map(int, size)) for size in re.findall(r"(\d+)/(\d+) \((\d+)", line)]
    described = [MODELS[name] for name in PAPER]
    assert [(d.width, d.mlp_width, d.depth) for d in described] == sizes


# Preparation

TINY = {"gpt2": (tiny_gpt2, 128), "gptj": (tiny_gptj, 128), "llama": (tiny_llama, 64)}


def described(family):
    return ModelShape(family=family, depth=5, width=32, mlp_width=TINY[family][1])


def write_origin(folder, family="llama", weights="safetensors", **options):
    """A tiny model as it would be published, in one of the two formats."""
    model, tokenizer = TINY[family][0](), tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    if weights == "torch":
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    else:
        model.save_pretrained(folder, **options)
    return folder


@pytest.mark.parametrize("family", TINY)
def test_the_described_model_is_prepared(tmp_path, family):
    origin = write_origin(tmp_path / "origin", family)
    record = prepare_folder(origin, tmp_path / "made", described(family))
    assert read_prepared(tmp_path / "made") == record
    assert record.weights_sha256 == file_digest(tmp_path / "made" / "model.safetensors")
    model, _ = load_model(tmp_path / "made")
    assert record.parameters == model.model.num_parameters()
    expected = TINY[family][0]().state_dict()
    for name, tensor in model.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize("field", ["family", "depth", "width", "mlp_width"])
def test_another_model_than_the_described_one_is_refused(tmp_path, family, field):
    origin = write_origin(tmp_path / "origin", family)
    right = described(family)
    known = getattr(right, field)
    wrong = "mistral" if field == "family" else known + 1
    with pytest.raises(ModelError) as error:
        prepare_folder(origin, tmp_path / "made", replace(right, **{field: wrong}))
    said = f"{field}: the description says {wrong}, the model has {known}"
    assert str(error.value) == f"{origin}: {said}"
    assert not (tmp_path / "made").exists()


def test_half_precision_and_sampling_settings_of_the_origin_are_left_behind(tmp_path):
    origin = write_origin(tmp_path / "origin")
    TINY["llama"][0](dtype=torch.float16).save_pretrained(origin)
    (origin / "generation_config.json").write_text('{"repetition_penalty": 1.3, "top_p": 0.9}')
    prepare_folder(origin, tmp_path / "made")
    model, _ = load_model(tmp_path / "made")
    assert model.dtype == torch.float32
    assert read_json(tmp_path / "made" / "config.json")["dtype"] == "float32"
    assert not model.model.generation_config.repetition_penalty
    assert not model.model.generation_config.top_p


def test_the_digest_covers_every_shard(tmp_path):
    whole = write_origin(tmp_path / "whole")
    shards = write_origin(tmp_path / "shards", max_shard_size="50KB")
    again = write_origin(tmp_path / "again", max_shard_size="50KB")
    names = sorted(path.name for path in shards.glob("model*.safetensors"))
    assert len(names) > 2
    assert weights_digest(file_digests(whole)) == file_digest(whole / "model.safetensors")
    assert (
        weights_digest(file_digests(shards))
        == weights_digest(file_digests(again))
        != weights_digest(file_digests(whole))
    )
    shutil.copy(shards / names[0], again / names[1])
    assert weights_digest(file_digests(shards)) != weights_digest(file_digests(again))
    made = [prepare_folder(origin, tmp_path / f"made-{origin.name}") for origin in (whole, shards)]
    assert made[0].weights_sha256 == made[1].weights_sha256


@pytest.mark.parametrize("family", TINY)
def test_torch_weights_give_the_same_model(tmp_path, family):
    safe = write_origin(tmp_path / "safe", family)
    torch_origin = write_origin(tmp_path / "torch", family, "torch")
    expected = prepare_folder(safe, tmp_path / "made-safe")
    record = prepare_folder(torch_origin, tmp_path / "made-torch", described(family), "torch")
    assert record.weights_sha256 == expected.weights_sha256
    with pytest.raises(ModelError, match="say 'weights: torch'"):
        prepare_folder(torch_origin, tmp_path / "made")


class Code:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_torch_weights_run_no_code(tmp_path):
    origin = write_origin(tmp_path / "origin", weights="torch")
    state = torch.load(origin / "pytorch_model.bin") | {"extra": Code(tmp_path / "ran")}
    torch.save(state, origin / "pytorch_model.bin")
    with pytest.raises(Exception, match="[Ww]eights.only"):
        prepare_folder(origin, tmp_path / "made", weights="torch")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "made").exists()


# The hub

REPO, REVISION = "some/model", "0123456789" * 4
NOWHERE = "http://127.0.0.1:9"  # nothing listens there
WAYS_OUT = {
    "GatedRepo": ["accept the licence", "HF_TOKEN"],
    "RepoNotFound": ["no such repository or revision", "source.repo"],
    "RevisionNotFound": ["no such repository or revision", "source.revision"],
    "offline": ["where there is a network", "source: {kind: folder, path: ...}"],
}


@pytest.fixture
def look_at(monkeypatch):
    """Makes huggingface_hub look for the hub at an address, or nowhere: it reads these once."""

    def set_address(address, offline=False):
        files = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # retries need not wait
    return set_address


@pytest.fixture
def cache(tmp_path, monkeypatch, look_at):
    """An empty hub cache, and no hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    look_at(NOWHERE, offline=True)
    return tmp_path / "hub"


@pytest.fixture
def hub(cache, tmp_path, look_at):
    """A hub on this machine: a folder, what was asked of it, and what it refuses with."""

    class Hub(BaseHTTPRequestHandler):
        folder = tmp_path / "published"
        served: list[str] = []
        refusal: tuple[int, str] | None = None

        def do_GET(self):
            headers = {"X-Repo-Commit": REVISION}
            if self.refusal:
                status, headers["X-Error-Code"] = self.refusal
                body = b""
            elif "/tree/" in self.path:
                status = 200
                paths = (path for path in self.folder.rglob("*") if path.is_file())
                entries = [
                    {"type": "file", "size": p.stat().st_size, "oid": file_digest(p)}
                    | {"path": str(p.relative_to(self.folder))}
                    for p in paths
                ]
                body = json.dumps(entries).encode()
            else:
                status, name = 200, self.path.split(f"/resolve/{REVISION}/")[1]
                body = (self.folder / name).read_bytes()
                headers["ETag"] = hashlib.sha256(body).hexdigest()
                self.served.append(name)
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        look_at(f"http://127.0.0.1:{server.server_port}")
        yield Hub
        server.shutdown()


def refusal_of(weights="safetensors", gated=False):
    with pytest.raises(HubError) as error:
        fetch_model(REPO, REVISION, weights, gated)
    message = str(error.value)
    assert message.startswith(f"{REPO} at revision {REVISION}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("weights", ["safetensors", "torch"])
def test_only_what_is_needed_is_fetched(hub, weights):
    needed = write_origin(hub.folder, "gptj", weights)
    names = {path.name for path in needed.iterdir()}
    other = "pytorch_model.bin" if weights == "safetensors" else "model.safetensors"
    for name in (other, "modeling_own.py", "original/consolidated.pth", "tf_model.h5"):
        (hub.folder / name).parent.mkdir(exist_ok=True)
        (hub.folder / name).write_text("not wanted")
    folder = fetch_model(REPO, REVISION, weights, False)
    assert {path.name for path in folder.iterdir()} == names == set(hub.served)
    prepare_folder(folder, hub.folder.with_name("made"), described("gptj"), weights)


def test_a_fetched_model_needs_no_network_again(hub, look_at):
    write_origin(hub.folder)
    folder = fetch_model(REPO, REVISION, "safetensors", False)
    look_at(NOWHERE, offline=True)
    assert fetch_model(REPO, REVISION, "safetensors", False) == folder
    (folder / "config.json").unlink()
    assert "source: {kind: folder" in refusal_of()


def test_a_folder_put_into_the_cache_is_found(cache):
    folder = write_origin(cache / "models--some--model" / "snapshots" / REVISION)
    assert fetch_model(REPO, REVISION, "safetensors", True) == folder
    assert "pytorch_model*.bin" in refusal_of("torch")


@pytest.mark.parametrize(
    ("gated", "answer", "way_out"),
    [
        (True, (403, "GatedRepo"), "GatedRepo"),
        (False, (403, "GatedRepo"), "GatedRepo"),  # the description does not know it
        (True, (401, "RepoNotFound"), "GatedRepo"),  # what it looks like without a token
        (False, (401, "RepoNotFound"), "RepoNotFound"),
        (False, (404, "RepoNotFound"), "RepoNotFound"),
        (True, (404, "RevisionNotFound"), "RevisionNotFound"),
        (False, (503, ""), "offline"),
    ],
)
def test_a_refusal_says_what_to_do(hub, gated, answer, way_out):
    hub.refusal = answer
    message = refusal_of(gated=gated)
    assert all(part in message for part in WAYS_OUT[way_out]), message


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network_there_is_another_way(cache, look_at, offline):
    look_at(NOWHERE, offline)
    message = refusal_of()
    assert all(part in message for part in WAYS_OUT["offline"]), message
    assert "{kind: folder, path: ..., weights: torch}" in refusal_of("torch")
