"""The released code's evaluation, in plain code: the oracle for scores and metrics of `published`.

What the code behind the paper's tables does (SPEC E.2, E.3, F.1 to F.4 and the discrepancies I14 to
I21), written from these facts and sharing nothing with the package. All prompts of a request and
kind are one left-padded batch that runs through the whole Hugging Face model; where an object
begins is found by counting tokens; and what the unedited model said is kept as lists of ids.

A request has `text`, `target_new`, `target_true`, `paraphrases` and `neighbors`; a neighbor has
`text` and `target`. A zsRE request is one whose `target_true` is `NO_OBJECT`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

NO_OBJECT = "<|endoftext|>"
# Equal objects in batches of different width differ by rounding; that is no success for either.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Said:
    """What the model says of one object: its ids, the argmax there, and its mean log-probability.

    An object may have no tokens of its own; its mean log-probability then is minus infinity.
    """

    labels: list[int]
    argmax: list[int]
    mean: float

    @property
    def accuracy(self) -> float:
        """Share of tokens that are the argmax (I17), NaN without tokens."""
        if not self.labels:
            return math.nan
        return float(np.mean([a == b for a, b in zip(self.labels, self.argmax, strict=True)]))


def batch(model, tokenizer, prompts: Sequence[str], objects: Sequence[str]) -> list[Said]:
    """One left-padded batch of prompt + " " + object, padded with the end-of-text id (I14, I15).

    Without position ids a model of that time counted the padding in, so the first token of a padded
    row is at position 0. An object begins after as many places of the row as hold the pad id, be
    they padding or the object's own, and as the prompt has other ids.
    """
    pad = tokenizer.eos_token_id
    full = [tokenizer(f"{p} {o}")["input_ids"] for p, o in zip(prompts, objects, strict=True)]
    width = max(len(ids) for ids in full)
    rows = [[pad] * (width - len(ids)) + ids for ids in full]
    mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in full]
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor(rows),
            attention_mask=torch.tensor(mask),
            position_ids=torch.arange(width).expand(len(rows), -1),
        ).logits
    log_p = logits.log_softmax(-1)
    best = logits.argmax(-1).tolist()
    result = []
    for r, prompt in enumerate(prompts):
        own = sum(1 for i in tokenizer(prompt)["input_ids"] if i != pad)
        begin = min(rows[r].count(pad) + own, width)
        labels = rows[r][begin:]
        values = [log_p[r, begin + n - 1, label].item() for n, label in enumerate(labels)]
        mean = float(np.mean(values)) if values else -math.inf
        result.append(Said(labels, best[r][begin - 1 : -1] if labels else [], mean))
    return result


def likelier(first: Sequence[Said], second: Sequence[Said]) -> float:
    """Share of prompts whose first object has the greater mean log-probability (I16)."""
    return float(np.mean([a.mean > b.mean + ROUNDING for a, b in zip(first, second, strict=True)]))


def locality(tokenizer, request) -> tuple[list[str], list[str]]:
    """Neighbor prompts and their objects; of a zsRE answer one for each of its tokens (I20)."""
    if request.target_true != NO_OBJECT:
        return [n.text for n in request.neighbors], [n.target for n in request.neighbors]
    (neighbor,) = request.neighbors
    ids = tokenizer(neighbor.target, add_special_tokens=False)["input_ids"]
    if ids[0] in (tokenizer.bos_token_id, tokenizer.unk_token_id):
        ids = ids[1:]
    prompts = [neighbor.text + tokenizer.decode(ids[:j]) for j in range(len(ids))]
    return prompts, [tokenizer.decode(ids[j]) for j in range(len(ids))]


@dataclass
class Evaluation:
    """Evaluates requests, first on the unedited model, whose answers it keeps for later."""

    tokenizer: object
    requests: Sequence
    said: dict[int, list[list[int]]] = field(default_factory=dict)  # argmax of every neighbor
    own: dict[int, list[str]] = field(default_factory=dict)  # decoded and stripped (F.2)

    def before(self, model) -> list[dict[str, float]]:
        """Metrics of each request on the unedited model; the objects are the dataset's (I19)."""
        return [self._evaluate(model, request, edited=False) for request in self.requests]

    def after(self, model) -> list[dict[str, float]]:
        """Metrics of each request on an edited model, held to the unedited one's answers (I18)."""
        return [self._evaluate(model, request, edited=True) for request in self.requests]

    def _evaluate(self, model, request, edited: bool) -> dict[str, float]:
        def run(prompts, objects):
            return batch(model, self.tokenizer, prompts, objects)

        values = {}
        for name, prompts in (("eff", [request.text]), ("gen", list(request.paraphrases))):
            new = run(prompts, [request.target_new] * len(prompts))
            true = run(prompts, [request.target_true] * len(prompts))
            values[f"{name}_acc"] = float(np.mean([one.accuracy for one in new]))
            values[f"{name}_succ"] = likelier(new, true)
        prompts, objects = locality(self.tokenizer, request)
        if edited:
            objects = self.own[request.id]
        true = run(prompts, objects)
        new = run(prompts, [request.target_new] * len(prompts))
        values["spec_succ"] = likelier(true, new)
        values["spec_acc"] = math.nan
        if edited:
            same = [a.argmax == b for a, b in zip(true, self.said[request.id], strict=True)]
            values["spec_acc"] = float(np.mean(same))
        else:
            self.said[request.id] = [one.argmax for one in true]
            self.own[request.id] = [self.tokenizer.decode(one.argmax).strip() for one in true]
        return values


def summary(requests: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over the requests, specificity to two decimals, and the scores (F.3, F.4, I21)."""
    row = {name: np.mean([values[name] for values in requests]) for name in requests[0]}
    row |= {name: round(row[name], 2) for name in ("spec_acc", "spec_succ")}
    for kind in ("acc", "succ"):
        parts = [row[f"{name}_{kind}"] for name in ("eff", "gen", "spec")]
        kept = [part for part in parts if part != 0]
        row[f"score_{kind}"] = len(kept) / sum(1 / part for part in kept) if kept else 0.0
    return {name: float(value) for name, value in row.items()}


def me_perplexity(model, tokenizer, texts: Sequence[str]) -> float:
    """The mean over texts of exp(-sum of log p / N), N counting every input id (E.3)."""
    found = []
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            log_p = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        total = log_p.gather(1, ids[0, 1:, None]).sum().item()
        found.append(math.exp(-total / ids.shape[1]))
    return float(np.mean(found))
