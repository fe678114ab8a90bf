"""What the engine computes on a device, with tiny models: edits, scores, statistics, whole jobs.

The tests run it on the CPU, under CUDA's rules without a GPU, and on a real one.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch

from modeledit.data.requests import Neighbor, Request, write_requests
from modeledit.editing.covariance_files import Partial, Reading, gather
from modeledit.editing.factors import factors_of
from modeledit.editing.iteration import Statistics, edit_once
from modeledit.editing.job import Inputs, Link, extend_chain
from modeledit.io.matrices import write_matrices
from modeledit.io.state import read_state
from modeledit.lm.contexts import generate_contexts
from modeledit.lm.drift import TextDrift, drift, outputs
from modeledit.lm.eligibility import judge_neighbors
from modeledit.lm.generation import Continuation, Speaker
from modeledit.lm.model import EditableModel
from modeledit.lm.scoring import own_objects, score, score_unedited, text_rows
from modeledit.study.layout import IterationFiles
from modeledit.study.methods import METHODS
from modeledit.study.switches import Switches
from tests.editing.tiny_edits import Silent, compute_on, settings_of, stop_after, write_record
from tests.presets import CORRECTED, PUBLISHED
from tests.reference import models as tiny

PRESETS = {"corrected": CORRECTED, "published": PUBLISHED}
MODELS = {"gpt2": tiny.tiny_gpt2, "gptj": tiny.tiny_gptj, "llama": tiny.tiny_llama}
SAME_SHAPE = {"mistral": tiny.tiny_mistral, "qwen2": tiny.tiny_qwen2}
FAMILIES = tiny.FURTHER | MODELS | SAME_SHAPE
NAMES = ("ROME", "MEMIT", "PMET")
ALL_METHODS = [prefix + name for name in NAMES for prefix in ("", "NA_", "NAP_")]
HYPER = tiny.HYPER
BUDGET = 300
LENGTHS = ((5, 2), (10, 2))
TOKENIZER = tiny.tiny_tokenizer()
CONTEXTS = tiny.tiny_contexts()[:3]
TEXTS = tiny.TEXT.splitlines()


def _neighbor(given: tiny.TinyNeighbor) -> Neighbor:
    return Neighbor(given.prompt, given.subject, given.target)


REQUESTS = [
    Request(
        id=r.id,
        subject=r.subject,
        prompt=r.prompt,
        target_new=r.target_new,
        target_true=r.target_true,
        paraphrases=r.paraphrases,
        neighbors=tuple(map(_neighbor, r.neighbors)),
        editing_neighbors=tuple(map(_neighbor, r.editing_neighbors)),
    )
    for r in tiny.tiny_requests()
    if r.id in (0, 3, 4, 6)
]


@dataclass
class Study:
    """A prepared folder with a tiny model, and what an iteration on it reads."""

    folder: Path
    kind: str
    preset: str = "corrected"
    requests: Sequence[Request] = tuple(REQUESTS)
    contexts: Sequence[str] = tuple(CONTEXTS)
    dtype: torch.dtype = torch.float32

    @property
    def switches(self) -> Switches:
        return PRESETS[self.preset]

    def load(self, device: str = "cuda") -> EditableModel:
        return EditableModel(FAMILIES[self.kind](dtype=self.dtype).to(device))

    def factors(self, device: str = "cuda") -> dict[int, np.ndarray]:
        """Covariance of some texts, gathered with an interruption, and its factors."""
        model, partial = self.load(device), self.folder / f"{device}.safetensors"
        layers, recipe = HYPER.layers, {"source": "texts"}
        for stop in (8, len(TEXTS)):
            sums = gather(
                model,
                TOKENIZER,
                lambda n, stop=stop: TEXTS[n:stop],
                Reading(layers, 64, tolerance=1e-9),
                recipe,
                Partial(partial, 3),
            )
        partial.unlink()
        moments = {f"layer{i}": moment.numpy() for i, moment in sums.moments().items()}
        lower = factors_of(moments, device)[0]
        return {layer: lower[f"layer{layer}"] for layer in layers}

    def edit(
        self, method: str, factors: dict, device: str = "cuda", precision: str = "float32"
    ) -> tuple[pd.DataFrame, dict[int, np.ndarray]]:
        """One iteration; the log, and the matrices that were written."""
        model = self.load(device)
        targets, edits, _keys = edit_once(
            model,
            TOKENIZER,
            self.requests,
            Statistics(self.contexts, factors),
            settings_of(method, HYPER, self.switches, precision, BUDGET),
            Silent(),
        )
        assert np.isfinite(targets.state.numpy()).all()
        written = {i: model.down_weight(i).contiguous().cpu().numpy() for i in HYPER.layers}
        return edits, written

    def score(self, device: str = "cuda") -> list[dict]:
        """Scores with the unedited model's own answers."""
        model, settings = self.load(device), self.switches
        before = score_unedited(model, TOKENIZER, REQUESTS, settings, TEXTS[:3], BUDGET)
        own = own_objects(before, TOKENIZER)
        return score(model, TOKENIZER, REQUESTS, settings, TEXTS[:3], BUDGET, own).to_pylist()

    def judge(self, device: str = "cuda") -> pd.DataFrame:
        positions = self.switches.eval_positions
        return judge_neighbors(self.load(device), TOKENIZER, REQUESTS, BUDGET, positions)

    def speak(self, device: str = "cuda") -> list[Continuation]:
        """Greedy continuations; one of them ends where the others go on."""
        prompts = [TOKENIZER(text)["input_ids"][:n] for n, text in enumerate(TEXTS[:6], start=2)]
        model = self.load(device)
        said = Speaker(model, TOKENIZER, 6, BUDGET).continuations(prompts)
        model.model.generation_config.eos_token_id = said[0].ids[1]
        return said + Speaker(model, TOKENIZER, 6, BUDGET).continuations(prompts)

    def drift(self, device: str = "cuda") -> list[TextDrift]:
        """Of a model whose matrix was halved."""
        model, rows = self.load(device), text_rows(TOKENIZER, TEXTS[:3])
        unedited = outputs(model, rows, BUDGET)
        model.write_down_weight(1, model.down_weight(1) / 2)
        return drift(model, rows, unedited, outputs(model, rows, BUDGET))

    def generate(self, device: str = "cuda") -> list[str]:
        return generate_contexts(self.load(device).model, TOKENIZER, LENGTHS, 42)

    def chain(self, method: str, device: str = "cuda", precision: str = "float32") -> list[dict]:
        """Two iterations with their files, as jobs run them; their states."""
        base, run = {"base": "a model"}, self.folder / "run"
        write_requests(self.folder / "requests.jsonl", REQUESTS)
        (self.folder / "texts.jsonl").write_text("".join(json.dumps(t) + "\n" for t in TEXTS[:3]))
        templates = {METHODS[method].context_set: CONTEXTS}
        (self.folder / "contexts.json").write_text(json.dumps({"templates": templates}))
        moments = {f"layer{i}": f for i, f in self.factors(device).items()}
        write_matrices(self.folder / "factors.safetensors", moments, base)
        settings = self.switches
        pq.write_table(
            score_unedited(self.load(device), TOKENIZER, REQUESTS, settings, TEXTS[:3], BUDGET),
            self.folder / "unedited.parquet",
        )
        inputs = Inputs(
            self.folder / "requests.jsonl",
            self.folder / "texts.jsonl",
            self.folder / "model",
            self.folder / "contexts.json",
            self.folder / "factors.safetensors",
            self.folder / "unedited.parquet",
        )
        states = []
        for k in (1, 2):
            outputs = IterationFiles.of(run, k)
            compute = compute_on(device, precision, BUDGET)
            switches = self.switches.editing()
            link = Link(k, METHODS[method], HYPER, switches, stop_after(2), compute)
            extend_chain(link, inputs, outputs)
            inputs = replace(inputs, previous=outputs.state)
            states.append(asdict(read_state(outputs.state)))
        return states


def prepared(folder: Path, kind: str, **others: object) -> Study:
    """The study of a tiny model of one family, which is put into `folder` unless it is there."""
    place = folder / kind
    if not place.exists():
        FAMILIES[kind]().save_pretrained(place / "model")
        TOKENIZER.save_pretrained(place / "model")
        write_record(place / "model", "a model")
    return Study(place, kind, **others)
