"""One link of a run's chain of iterations: from the files of iteration k-1 to those of k.

The link loads the model once, edits it, measures p-bar and p-hat, scores, and writes its state.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from modeledit.data.requests import Request, read_requests
from modeledit.editing import matrix_names
from modeledit.editing.iteration import EditSettings, Statistics, edit_once
from modeledit.editing.link import Inputs, Link
from modeledit.editing.optimization import Failure
from modeledit.editing.stages import stored_targets, targets_before
from modeledit.evaluation.metrics import distance, mean_perplexity
from modeledit.evaluation.schemas import EDITS, RAW_SCORES
from modeledit.io.files import digest, file_digest, read_json, read_texts
from modeledit.io.frames import write_parquet
from modeledit.io.hardware import write_hardware
from modeledit.io.log import progress
from modeledit.io.matrices import LazyMatrices, read_matrices, write_matrices
from modeledit.io.prepared import read_prepared
from modeledit.io.state import State, read_state, write_state
from modeledit.lm.budget import token_budget
from modeledit.lm.device import prepare_device
from modeledit.lm.limits import check_lengths
from modeledit.lm.meter import Meter
from modeledit.lm.model import EditableModel, load_model
from modeledit.lm.scoring import own_objects, score
from modeledit.study.layout import IterationFiles
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


def extend_chain(link: Link, inputs: Inputs, outputs: IterationFiles) -> None:
    """Run one iteration and write its six files."""
    k, method, hyper, compute = link.k, link.method, link.hyper, link.compute
    device = prepare_device(compute.device, compute.threads, compute.deterministic)
    meter = Meter(device)
    requests = read_requests(inputs.requests)
    model, tokenizer = load_model(inputs.model, device)
    base = read_prepared(inputs.model).weights_sha256
    contexts = read_json(inputs.contexts)["templates"][method.context_set]
    texts = read_texts(inputs.texts)
    check_lengths(model, tokenizer, requests, texts, contexts)
    budget = token_budget(compute.token_budget, model, len(requests), len(contexts))
    identity = {
        "base": base,
        "method": method.name,
        "requests": file_digest(inputs.requests),
        "settings": digest([asdict(hyper), asdict(link.switches), contexts, compute.precision]),
    }
    differences, targets_then = [], None
    if inputs.previous:
        before, expected = read_state(inputs.previous), identity | {"k": str(k - 1)}
        differences = before.differences
        if method.repeats != "optimization":  # which starts from the unedited weights each time
            load_edited(model, IterationFiles.below(inputs.previous.parent).edited, expected)
        if inputs.previous_targets and inputs.previous_edits:
            targets_then = targets_before(
                inputs.previous_targets, inputs.previous_edits, expected, requests
            )

    settings = EditSettings(method, hyper, link.switches, compute.precision, budget)
    factors: Mapping[int, torch.Tensor] = {}
    if inputs.factors:
        width = model.down_weight(hyper.layers[0]).shape[1]
        factors = LazyMatrices(
            inputs.factors, {"base": base}, matrix_names.LAYER, hyper.layers, width
        )
    with progress(len(requests), "request", f"{method.name}, iteration {k}") as bar:
        targets, edits = edit_once(
            model,
            tokenizer,
            requests,
            Statistics(contexts, factors),
            settings,
            bar,
            targets_then,
        )
    legacy = "_legacy" if link.switches.perplexity == "legacy" else ""
    p_bar, p_hat = (mean_perplexity(edits[f"{name}{legacy}"]) for name in ("p_bar", "p_hat"))
    differences = [*differences, float(distance(p_hat, p_bar))]
    collapsed = _collapse(targets.failure, requests)
    # The weights are as they were: every further iteration would end in the same way.
    stop = link.stop
    stopped = collapsed is not None or not should_continue(
        k, differences, stop.mode, stop.epsilon, stop.iterations, stop.extended
    )
    if collapsed:
        log.error("iteration %d collapsed, nothing was written: %s", k, collapsed)
    log.info("iteration %d: |dp| %.4g, %s", k, differences[-1], "stop" if stopped else "go on")

    own = None
    if inputs.unedited:
        own = own_objects(RAW_SCORES.read_table(inputs.unedited), tokenizer)
    scores = score(model, tokenizer, requests, link.switches.scoring(), texts, budget, own)
    identity["k"] = str(k)
    matrices = {
        model.down_name(layer): model.down_weight(layer).contiguous().cpu().numpy()
        for layer in sorted(hyper.layers)
    }
    write_matrices(outputs.edited, matrices, identity)
    arrays = {name: a.numpy() for name, a in stored_targets(targets, method.repeats).items()}
    write_matrices(outputs.targets, arrays, identity)
    EDITS.write(outputs.edits, edits)
    write_parquet(outputs.scores, scores)
    write_hardware(outputs.hardware, meter.record())
    write_state(
        outputs.state,
        State(
            k=k,
            held_by=k,
            passed_on=False,
            stopped=stopped,
            collapsed=collapsed,
            p_bar=p_bar,
            p_hat=p_hat,
            dp=differences[-1],
            precision=compute.precision,
            differences=differences,
        ),
    )
