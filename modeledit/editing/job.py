"""One link of a run's chain of iterations: from the files of iteration k-1 to those of k.

The link loads the model once, edits it, measures p-bar and p-hat, scores unless it is of a batch,
and writes its state.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch

from modeledit.data.requests import Request, read_requests
from modeledit.data.trials import check_batches
from modeledit.editing import matrix_names
from modeledit.editing.iteration import EditSettings, Statistics, edit_once
from modeledit.editing.key_cache import read_keys, write_keys
from modeledit.editing.link import Batch, Inputs, Link
from modeledit.editing.null_space import NullSpace
from modeledit.editing.null_space_files import LazyNullSpaces
from modeledit.editing.optimization import Failure, Targets
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
    """Run one iteration and write its files; its scores only where it is of no batch."""
    method, hyper, compute = link.method, link.hyper, link.compute
    device = prepare_device(compute.device, compute.threads, compute.deterministic)
    meter = Meter(device)
    every = read_requests(inputs.requests)
    requests = every if link.batch is None else of_batch(every, link.batch, inputs.requests)
    model, tokenizer = load_model(inputs.model, device)
    base = read_prepared(inputs.model).weights_sha256
    contexts = read_json(inputs.contexts)["templates"][method.context_set]
    texts = read_texts(inputs.texts) if inputs.texts else []
    check_lengths(model, tokenizer, requests, texts, contexts)
    budget = token_budget(compute.token_budget, model, len(requests), len(contexts))
    settings = EditSettings(method, hyper, link.switches, compute.precision, budget)
    run = {
        "base": base,
        "method": method.name,
        "requests": file_digest(inputs.requests),
        "settings": digest([asdict(hyper), asdict(link.switches), contexts, compute.precision]),
    }
    before = _Before.read(link, inputs, run, requests)
    if before.edited:
        load_edited(model, before.edited, before.expected)
    width = model.down_weight(hyper.layers[0]).shape[1]
    statistics = _statistics(link, inputs, run, contexts, width)
    with progress(len(requests), "request") as bar:
        targets, edits, keys = edit_once(
            model, tokenizer, requests, statistics, settings, bar, before.targets
        )
    state = _state(link, edits, before.differences, _collapse(targets.failure, requests))

    identity = run | _place(link)
    matrices = {
        model.down_name(layer): model.down_weight(layer).contiguous().cpu().numpy()
        for layer in sorted(hyper.layers)
    }
    if link.batch is None:
        own = None
        if inputs.unedited:
            own = own_objects(RAW_SCORES.read_table(inputs.unedited), tokenizer)
        scores = score(model, tokenizer, requests, link.switches.scoring(), texts, budget, own)
        write_parquet(outputs.scores, scores)
    write_matrices(outputs.edited, matrices, identity)
    arrays = {name: a.numpy() for name, a in stored_targets(targets, method.repeats).items()}
    write_matrices(outputs.targets, arrays, identity)
    write_keys(outputs.key_cache, keys, identity)
    EDITS.write(outputs.edits, edits)
    write_hardware(outputs.hardware, meter.record())
    write_state(outputs.state, state)


def of_batch(requests: Sequence[Request], batch: Batch, path: Path) -> Sequence[Request]:
    """The requests of a batch, of all those in the file `path`; RequestError if they are fewer."""
    chosen = requests[(batch.number - 1) * batch.size : batch.number * batch.size]
    if len(chosen) < batch.size:
        check_batches(path, len(requests), batch.size, batch.number)
    return chosen


def _place(link: Link) -> dict[str, str]:
    """Which iteration it is, of which batch."""
    batch = {} if link.batch is None else {"batch": f"{link.batch.number} of {link.batch.size}"}
    return batch | {"k": str(link.k)}


@dataclass(frozen=True)
class _Before:
    """What an iteration goes on from.

    |dp| of the iterations before it, edited matrices with the metadata that they must have, and
    targets that are kept.
    """

    differences: list[float]
    edited: Path | None = None
    expected: Mapping[str, str] = field(default_factory=dict)
    targets: Targets | None = None

    @classmethod
    def read(
        cls, link: Link, inputs: Inputs, run: Mapping[str, str], requests: Sequence[Request]
    ) -> "_Before":
        """That of a link of a `run`."""
        if not inputs.previous:
            return cls([])
        edited = inputs.previous_edited or IterationFiles.below(inputs.previous.parent).edited
        if link.k == 1 and link.batch:  # what the batch before left
            number = link.batch.number - 1
            return cls([], edited, {**run, "batch": f"{number} of {link.batch.size}"})
        expected = {**run, **_place(replace(link, k=link.k - 1))}
        targets = None
        if inputs.previous_targets and inputs.previous_edits:
            targets = targets_before(
                inputs.previous_targets, inputs.previous_edits, expected, requests
            )
        differences = read_state(inputs.previous).differences
        # OPTIMIZATION alone starts from the unedited weights each time.
        again = link.method.repeats == "optimization"
        return cls(differences, None if again else edited, expected, targets)


def _statistics(
    link: Link,
    inputs: Inputs,
    run: Mapping[str, str],
    contexts: Sequence[str],
    width: int,
) -> Statistics:
    """What editing knows of the unedited model and of earlier edits, most of it read when asked."""
    base, layers = {"base": run["base"]}, link.hyper.layers
    factors: Mapping[int, torch.Tensor] = {}
    if inputs.factors:
        factors = LazyMatrices(inputs.factors, base, matrix_names.LAYER, layers, width)
    null_spaces: Mapping[int, NullSpace] = {}
    if inputs.null_spaces:
        null_spaces = LazyNullSpaces(inputs.null_spaces, base, layers, width)
    earlier = read_keys(inputs.earlier_keys, run, layers, width, link)
    return Statistics(contexts, factors, null_spaces, earlier)


def _state(
    link: Link, edits: pd.DataFrame, differences: Sequence[float], collapsed: str | None
) -> State:
    """What the iteration measured, and whether the run ends with it."""
    k, stop = link.k, link.stop
    legacy = "_legacy" if link.switches.perplexity == "legacy" else ""
    p_bar, p_hat = (mean_perplexity(edits[f"{name}{legacy}"]) for name in ("p_bar", "p_hat"))
    every = [*differences, float(distance(p_hat, p_bar))]
    # Once it collapsed the weights are as they were: further iterations would end in the same way.
    stopped = collapsed is not None or not should_continue(
        k, every, stop.mode, stop.epsilon, stop.iterations, stop.extended
    )
    if collapsed:
        log.error("iteration %d collapsed, nothing was written: %s", k, collapsed)
    log.info("iteration %d: |dp| %.4g, %s", k, every[-1], "stop" if stopped else "go on")
    return State(
        k=k,
        held_by=k,
        passed_on=False,
        stopped=stopped,
        collapsed=collapsed,
        p_bar=p_bar,
        p_hat=p_hat,
        dp=every[-1],
        precision=link.compute.precision,
        differences=every,
    )
