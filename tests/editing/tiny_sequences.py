"""Batches in sequence on a tiny model: job by job from files, and on one model in memory."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modeledit.data.requests import read_requests, write_requests
from modeledit.editing.covariance import second_moments
from modeledit.editing.factors import factorize
from modeledit.editing.iteration import EditSettings, Statistics, edit_once
from modeledit.editing.link import Batch, Inputs, Link
from modeledit.editing.null_space_files import LazyNullSpaces, find_null_spaces
from modeledit.io.files import write_json
from modeledit.io.matrices import LazyMatrices, write_matrices
from modeledit.lm.model import EditableModel, load_model
from modeledit.study.earlier_keys import Written, earlier_keys
from modeledit.study.hyperparameters import Cut, NullSpaceHyperparameters
from modeledit.study.layout import IterationFiles
from modeledit.study.methods import METHODS, KeyCache
from modeledit.study.settings import Stop
from scripts.edit import edit
from scripts.keep_batch import Inputs as Iterations
from scripts.keep_batch import keep_batch
from tests.editing.tiny_edits import SWITCHES, Silent, compute_on, stop_after, write_record
from tests.reference import models as tiny

SIZE, ITERATIONS = 2, 2
HYPER = replace(tiny.HYPER, steps=3)
WITHOUT = {name: value for name, value in vars(HYPER).items() if name != "covariance_weight"}
NULL_SPACE = NullSpaceHyperparameters(**WITHOUT, null_space=Cut(kind="rank", value=60), l2=0.5)
CONTEXTS = tiny.tiny_contexts()
LAYERS, BASE = HYPER.layers, {"base": "f00d"}
KEPT = ("state", "edited", "key_cache")  # what a batch leaves for the next one


def prepare(folder: Path) -> Path:
    """What every job reads: a tiny model, six requests, contexts, factors, null spaces."""
    model, tokenizer = tiny.tiny_gpt2(), tiny.tiny_tokenizer()
    requests = tiny.tiny_requests()[: 3 * SIZE]
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    write_record(folder / "model", BASE["base"])
    write_requests(folder / "requests.jsonl", requests)
    (folder / "texts.jsonl").write_text('"The river is long."\n')
    write_json(folder / "contexts.json", {"templates": {"10x1": CONTEXTS}})
    texts = [r.text for r in requests] + CONTEXTS
    moments, _ = second_moments(EditableModel(model), tokenizer, texts, LAYERS, 64)
    moments = {layer: c + 0.01 * torch.eye(len(c)) for layer, c in moments.items()}
    factors = {f"layer{i}": np.asarray(factorize(c, i).lower) for i, c in moments.items()}
    write_matrices(folder / "factors.safetensors", factors, BASE)
    covariances = {layer: np.asarray(c) for layer, c in moments.items()}
    squares = {layer: float(np.trace(c)) for layer, c in covariances.items()}
    spaces = find_null_spaces(covariances, squares, NULL_SPACE.null_space, "cpu")
    write_matrices(folder / "null_spaces.safetensors", spaces.matrices, BASE | spaces.metadata)
    return folder


@dataclass(frozen=True)
class Chain:
    """A sequence in a folder, each job of it with the files that its rule gives it."""

    prepared: Path
    folder: Path
    name: str = "AlphaEdit"
    policy: KeyCache = "other_batches"
    size: int = SIZE
    stop: Stop = stop_after(ITERATIONS)

    @property
    def ks(self) -> range:
        """Iterations that a batch may have."""
        return range(1, self.stop.extended + 1)

    def files(self, batch: int, k: int) -> IterationFiles:
        return IterationFiles.below(self.folder / f"batch{batch}" / f"iter{k}")

    def kept(self, batch: int) -> IterationFiles:
        """State, matrices and keys that a batch leaves for the next one."""
        return IterationFiles.below(self.folder / f"batch{batch}")

    def link(self, batch: int, k: int) -> Link:
        method = METHODS[self.name]
        hyper = NULL_SPACE if method.protects == "null_space" else HYPER
        switches = replace(SWITCHES, key_cache=self.policy).editing()
        place = Batch(batch, self.size)
        return Link(k, method, hyper, switches, self.stop, compute_on(), place)

    def earlier(self, batch: int, k: int) -> list[Written]:
        return earlier_keys(METHODS[self.name].keys_kept(self.policy), batch, k, self.ks)

    def inputs(self, batch: int, k: int) -> Inputs:
        held = self.files(batch, k - 1) if k > 1 else self.kept(batch - 1)
        again = k > 1 and METHODS[self.name].repeats != "both"
        null = METHODS[self.name].protects == "null_space"
        return Inputs(
            self.prepared / "requests.jsonl",
            None,
            self.prepared / "model",
            self.prepared / "contexts.json",
            None if null else self.prepared / "factors.safetensors",
            null_spaces=self.prepared / "null_spaces.safetensors" if null else None,
            previous=held.state if (batch, k) > (1, 1) else None,
            previous_edited=held.edited if (batch, k) > (1, 1) else None,
            earlier_keys=tuple(
                (self.files(b, j) if j else self.kept(b)).key_cache
                for b, j in self.earlier(batch, k)
            ),
            previous_targets=held.targets if again else None,
            previous_edits=held.edits if again else None,
        )

    def edit(self, batch: int, k: int, **other: Any) -> IterationFiles:
        """One iteration, with `other` inputs instead of its own."""
        files = self.files(batch, k)
        edit(self.link(batch, k), replace(self.inputs(batch, k), **other), files)
        return files

    def keep(self, batch: int) -> IterationFiles:
        """What is done once the batch has ended."""
        every, kept = [self.files(batch, k) for k in self.ks], self.kept(batch)
        iterations = Iterations(*([getattr(f, n) for f in every] for n in KEPT))
        keep_batch(iterations, *(getattr(kept, n) for n in KEPT))
        return kept

    def run(self, batches: int) -> "Chain":
        """The first so many batches."""
        for batch in range(1, batches + 1):
            for k in self.ks:
                self.edit(batch, k)
            self.keep(batch)
        return self


def in_memory(prepared: Path, name: str, policy: KeyCache, batches: int) -> dict:
    """The same sequence on one model, no file between iterations: weights, keys by (batch, k)."""
    model, tokenizer = load_model(prepared / "model")
    requests = read_requests(prepared / "requests.jsonl")
    method, width = METHODS[name], model.down_weight(LAYERS[0]).shape[1]
    if method.protects == "null_space":
        path, hyper = prepared / "null_spaces.safetensors", NULL_SPACE
        known = {"null_spaces": LazyNullSpaces(path, BASE, LAYERS, width)}
    else:
        path, hyper = prepared / "factors.safetensors", HYPER
        known = {"factors": LazyMatrices(path, BASE, "layer", LAYERS, width)}
    switches = replace(SWITCHES, key_cache=policy)
    settings = EditSettings(method, hyper, switches, "float32", 400)
    found, ks = {}, range(1, ITERATIONS + 1)
    for b in range(1, batches + 1):
        targets = None
        for k in ks:
            parts = [
                found[w.batch, w.k or ITERATIONS][1]
                for w in earlier_keys(method.keys_kept(policy), b, k, ks)
            ]
            earlier = {i: torch.cat([p[i] for p in parts]) for i in LAYERS} if parts else {}
            own = requests[(b - 1) * SIZE : b * SIZE]
            statistics = Statistics(CONTEXTS, earlier=earlier, **known)
            made = edit_once(model, tokenizer, own, statistics, settings, Silent(), targets)
            targets = made.targets if method.repeats == "spread" else None
            found[b, k] = ({i: model.down_weight(i).clone() for i in LAYERS}, made.keys)
    return found
