"""Edit jobs as the plan counts them: their work, their steps, and what earlier ones say of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from modeledit.planning import costs
from modeledit.planning.costs import Edit, Speed
from modeledit.study import layout, memory
from modeledit.study.config import ELIGIBLE, Settings
from modeledit.study.hyperparameters import Hyperparameters
from modeledit.study.layout import Run
from modeledit.study.methods import METHODS

# Steps that iterations 1, 2, ... use of those allowed: 19, 11, 5, 3 of 20 on the default model. Not
# ROME's: what it writes for one request undoes others'.
USED = (0.95, 0.55, 0.25, 0.15)


@dataclass(frozen=True)
class Progress:
    """How far a run or a batch is: `done` of `links` jobs, `edited` of which did edit."""

    links: int
    done: int
    edited: int
    stopped: bool

    @property
    def most(self) -> int:
        """Most iterations that will have edited."""
        return self.edited if self.stopped else self.links

    def likely(self, usual: int) -> int:
        """Iterations that will have edited where others of its kind took `usual`."""
        if self.stopped or self.done == self.links:
            return self.edited
        return min(self.links, max(usual, self.edited + 1))


@dataclass(frozen=True)
class Measured:
    """An earlier edit job: where it ran, how long, and what it had to do."""

    dataset: str
    model: str
    method: str
    device: str
    seconds: float
    requests: int
    steps: float  # the mean of its requests
    scored: bool = True  # a run's are, a batch's are not


def steps(hyper: Hyperparameters, method: str, k: int) -> float:
    """Mean steps that iteration `k` is expected to make; none where it keeps the targets."""
    how = METHODS[method]
    if how.repeats == "spread" and k > 1:
        return 0
    used = USED[0] if how.write == "rank_one" else USED[min(k, len(USED)) - 1]
    return max(1, used * hyper.steps)


def kind_of(settings: Settings, dataset: str) -> str:
    """What kind of records a dataset of runs has: "geography", "counterfact", "zsre", "own"."""
    return settings.config.datasets[dataset.removesuffix(ELIGIBLE)].source


def edit_of(settings: Settings, dataset: str, model: str, method: str) -> Edit:
    """The edit jobs of a dataset, model and method."""
    described, how = settings.models[model], METHODS[method]
    bare = ["{}"] * how.n_contexts
    return Edit(
        described,
        how,
        described.hyperparameters(how.parameters),
        costs.SHAPES[kind_of(settings, dataset)],
        len(how.neighbor_contexts(bare, settings.switches.nap_prefixes)),
        settings.config.compute.most_tokens(gpu=True),
        settings.config.text.perplexity_texts,
        settings.needs_covariance(method),
    )


def scale_of(
    settings: Settings, measured: Sequence[Measured], model: str, method: str, speed: Speed
) -> tuple[float, int]:
    """Measured by estimated seconds of earlier jobs of a model and method on this device, and how
    many jobs these are."""
    known = settings.config.datasets
    jobs = [
        m
        for m in measured
        if (m.model, m.method, m.device) == (model, method, speed.device)
        and m.dataset.removesuffix(ELIGIBLE) in known
    ]
    estimated = 0.0
    for m in jobs:
        edit = edit_of(settings, m.dataset, model, method)
        work = (edit.job if m.scored else edit.iteration)(m.requests, m.steps)
        estimated += work.seconds(speed)
    return (sum(m.seconds for m in jobs) / estimated if jobs else 1.0), len(jobs)


def earlier_keys(settings: Settings, method: str, size: int, batches: int, wrote: int) -> int:
    """Keys of earlier edits that an iteration keeps in place, after `batches` batches of `size`
    requests and `wrote` iterations in all."""
    kept = METHODS[method].keys_kept(settings.switches.key_cache)
    return {"none": 0, "other_batches": batches, "released": wrote}[kept] * size


def keeps_keys(settings: Settings, method: str) -> bool:
    """Whether each iteration leaves its keys for later ones."""
    return METHODS[method].keys_kept(settings.switches.key_cache) != "none"


def write_of(settings: Settings, chain: Run | layout.Sequence) -> memory.Write:
    """How a run or a sequence of batches writes, with the most earlier keys that it keeps."""
    if isinstance(chain, Run):
        size, batches = settings.most_requests(chain.dataset, chain.model), 1
        iterations = settings.stop(chain.dataset, chain.model, chain.method).extended
    else:
        size, batches = chain.size, chain.count
        iterations = settings.stop_of_batch(chain).extended
    method = METHODS[chain.method]
    hyper = settings.models[chain.model].hyperparameters(method.parameters)
    before = batches - 1, batches * iterations - 1
    return memory.Write(
        method.protects,
        earlier_keys(settings, chain.method, size, *before),
        len(hyper.layers) if keeps_keys(settings, chain.method) else 0,
    )
