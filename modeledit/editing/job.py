"""One link of a run's chain of iterations: from the files of iteration k-1 to those of k.

The link loads the model once, edits it, measures p-bar and p-hat, scores, and writes its state.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import torch

from modeledit.data.requests import Request, read_requests
from modeledit.editing.iteration import edit_once
from modeledit.editing.optimization import Failure
from modeledit.editing.stages import stored_targets, targets_before
from modeledit.evaluation.metrics import distance, mean_perplexity
from modeledit.io.files import (
    digest,
    file_digest,
    finished,
    read_json,
    read_texts,
    write_json,
)
from modeledit.io.log import progress
from modeledit.io.matrices import LazyMatrices, read_matrices, write_matrices
from modeledit.lm.device import prepare_device
from modeledit.lm.meter import Meter
from modeledit.lm.model import EditableModel, load_model
from modeledit.lm.scoring import ScoringSettings, own_objects, score
from modeledit.study.methods import METHODS
from modeledit.study.stopping import should_continue

log = logging.getLogger(__name__)
NAMED = 5  # requests named in a message


def load_edited(model: EditableModel, path: Path, expected: Mapping[str, str]) -> None:
    """Put the edited matrices of a state into `model`, after checking that they belong to it."""
    matrices = read_matrices(path, expected)
    names = {model.down_name(layer): layer for layer in range(model.depth)}
    for name, matrix in matrices.items():
        model.write_down_weight(names[name], torch.from_numpy(matrix))


def _collapse(failure: Failure | None, requests: Sequence[Request]) -> str | None:
    """Why an iteration wrote nothing, with the requests to blame; None for one that did write."""
    if failure is None:
        return None
    ids = [str(requests[i].id) for i in failure.requests]
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    blame = f" (request {', '.join(ids[:NAMED])}{more})" if ids else ""
    return f"{failure.reason}{blame}"


def extend_chain(
    k: int,
    method: str,
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    hyper: Mapping,
    switches: Mapping,
    stop: Mapping,
    compute: Mapping,
    threads: int,
) -> None:
    """Run iteration `k` of `method` and write its six files.

    `inputs`: requests, texts, model (folder), contexts, and where they are needed factors (of the
    covariance), unedited (scores, for specificity on the model's own answers) and for k > 1
    previous (the state.json before), of methods that repeat one stage also previous_targets and
    previous_edits. `outputs`: state, edited, targets, edits, scores, hardware.
    """
    device = prepare_device(compute["device"], threads, compute["deterministic"])
    meter = Meter(device)
    requests = read_requests(inputs["requests"])
    model, tokenizer = load_model(inputs["model"], device)
    base = read_json(inputs["model"] / "prepared.json")["weights_sha256"]
    contexts = read_json(inputs["contexts"])["templates"][METHODS[method].context_set]
    identity = {
        "base": base,
        "method": method,
        "requests": file_digest(inputs["requests"]),
        "settings": digest([hyper, switches, contexts, compute["precision"]]),
    }
    differences, targets_then = [], None
    repeats = METHODS[method].repeats
    if k > 1:
        before, expected = read_json(inputs["previous"]), identity | {"k": str(k - 1)}
        differences = before["differences"]
        if repeats != "optimization":  # which starts from the unedited weights each time
            load_edited(model, inputs["previous"].parent / "edited.safetensors", expected)
        if repeats != "both":
            paths = inputs["previous_targets"], inputs["previous_edits"]
            targets_then = targets_before(*paths, expected, requests)

    factors = {}
    if "factors" in inputs:
        width = model.down_weight(hyper["layers"][0]).shape[1]
        factors = LazyMatrices(inputs["factors"], {"base": base}, "layer", hyper["layers"], width)
    with progress(len(requests), "request", f"{method}, iteration {k}") as bar:
        targets, edits = edit_once(
            model,
            tokenizer,
            requests,
            contexts,
            factors,
            METHODS[method],
            hyper,
            switches,
            compute["token_budget"],
            bar,
            compute["precision"],
            targets_then,
        )
    legacy = "_legacy" if switches["perplexity"] == "legacy" else ""
    p_bar, p_hat = (mean_perplexity(edits[f"{name}{legacy}"]) for name in ("p_bar", "p_hat"))
    differences = [*differences, float(distance(p_hat, p_bar))]
    collapsed = _collapse(targets.failure, requests)
    # The weights are as they were: every further iteration would end in the same way.
    stopped = collapsed is not None or not should_continue(
        k, differences, stop["mode"], stop["epsilon"], stop["iterations"], stop["extended"]
    )
    if collapsed:
        log.error("iteration %d collapsed, nothing was written: %s", k, collapsed)
    log.info("iteration %d: |dp| %.4g, %s", k, differences[-1], "stop" if stopped else "go on")

    texts = read_texts(inputs["texts"])
    how = ScoringSettings.of(switches)
    own = None
    if "unedited" in inputs:
        own = own_objects(pq.read_table(inputs["unedited"]), tokenizer)
    scores = score(model, tokenizer, requests, texts, compute["token_budget"], how, own)
    identity["k"] = str(k)
    matrices = {
        model.down_name(layer): model.down_weight(layer).contiguous().cpu().numpy()
        for layer in sorted(hyper["layers"])
    }
    write_matrices(outputs["edited"], matrices, identity)
    arrays = {name: a.numpy() for name, a in stored_targets(targets, repeats).items()}
    write_matrices(outputs["targets"], arrays, identity)
    with finished(outputs["edits"]) as path:
        edits.to_parquet(path, index=False)
    with finished(outputs["scores"]) as path:
        pq.write_table(scores, path)
    write_json(outputs["hardware"], meter.record())
    write_json(
        outputs["state"],
        {
            "k": k,
            "held_by": k,
            "passed_on": False,
            "stopped": stopped,
            "collapsed": collapsed,
            "p_bar": p_bar,
            "p_hat": p_hat,
            "dp": differences[-1],
            "precision": compute["precision"],
            "differences": differences,
        },
    )
