"""What a study lacks on this machine, one line each with the way out (peaks of `memory`)."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from modeledit.planning.edits import write_of
from modeledit.study import layout, memory
from modeledit.study.config import Settings
from modeledit.study.inventory import downloaded
from modeledit.study.jobs import Job, Kind
from modeledit.study.layout import Run
from modeledit.study.methods import METHODS
from modeledit.study.models import FolderSource, HubSource
from modeledit.study.settings import SMALLEST_BUDGET


@dataclass(frozen=True)
class Machine:
    """What there is here; sizes in bytes.

    `gpu` is the name of the GPU that torch sees. `used_bytes` are those of the results of this name
    and of the resources. `at_once` is how many jobs that run a model the cores allow.
    """

    gpu: str | None
    device_bytes: float | None
    host_bytes: float
    free_bytes: float
    used_bytes: float
    token: bool  # for the model hub
    latex: bool
    offline: bool  # whether an offline folder is configured
    at_once: int = 1

    def computes_on_gpu(self, device: str) -> bool:
        """Whether jobs compute on a GPU under `compute.device`."""
        return device == "cuda" or (device == "auto" and self.gpu is not None)


@dataclass(frozen=True)
class LargestJob:
    """The largest job of its kind: what it needs, and of how many requests and contexts."""

    model: str
    name: str
    peak: memory.Peak
    requests: int = 0
    contexts: int = 0
    write: memory.Write = field(default_factory=memory.Write)


def peaks(settings: Settings) -> list[LargestJob]:
    """The jobs that run a model or prepare one, largest requests first where methods repeat.

    Under "auto" they take as few tokens at once as they have to.
    """
    budget, found = settings.config.compute.token_budget, []
    if budget == "auto":
        budget = SMALLEST_BUDGET
    for name, model in settings.models.items():
        found.append(LargestJob(name, Kind.PREPARE, memory.preparing(model)))
        found.append(LargestJob(name, Kind.UNEDITED, memory.scoring(model, budget)))
        if layers := len(settings.factor_layers(name)):
            found.append(LargestJob(name, Kind.FACTORIZE, memory.factorizing(model, layers)))
        if layers := len(settings.null_space_layers(name)):
            peak = memory.finding_null_spaces(model, layers)
            found.append(LargestJob(name, Kind.NULL_SPACE, peak))
        layers = len(settings.layers(name))
        if layers and settings.config.covariance.source != "authors":
            tokens = longest_article(settings)
            found.append(
                LargestJob(name, "gather_covariance", memory.gathering(model, layers, tokens))
            )
    first: dict[tuple[object, ...], Run | layout.Sequence] = {}  # of all trials of a kind
    for chain in settings.chains:
        first.setdefault((*chain.key[:3], *chain.key[4:]), chain)
    for chain in first.values():
        requests, what = settings.most_requests(chain.dataset, chain.model), chain.method
        if isinstance(chain, layout.Sequence):
            requests, what = chain.size, f"a batch of {chain.method}"
        write, contexts = write_of(settings, chain), METHODS[chain.method].n_contexts
        peak = memory.editing(settings.models[chain.model], budget, requests, contexts, write)
        what = f"{what} on {chain.dataset}"
        found.append(LargestJob(chain.model, what, peak, requests, contexts, write))
    return found


def longest_article(settings: Settings) -> int:
    """Most tokens that are taken of an article for the covariance."""
    if settings.config.covariance.source == "embedded":
        return settings.config.text.covariance_length
    return settings.config.covariance.length or 8192  # no described model sees more at once


def missing(
    settings: Settings,
    machine: Machine,
    disk_needed: float,
    jobs: Mapping[Job, bool],
    folders: Mapping[str, bool] | None = None,
) -> list[str]:
    """What is missing, one line each.

    `disk_needed` is in bytes. `jobs` says of each whether its file is here already, `folders`
    whether that of a model which comes from one is.
    """
    prepared = {job.model for job, here in jobs.items() if here and job.kind is Kind.PREPARE}
    absent = [
        job.file.removeprefix(downloaded(""))
        for job, here in jobs.items()
        if job.kind is Kind.DOWNLOAD and not here
    ]
    return [
        *_devices(settings, machine),
        *_room(machine, disk_needed),
        *_models(settings, machine, prepared, folders or {}),
        *_files(machine, absent),
    ]


def _devices(settings: Settings, machine: Machine) -> Iterator[str]:
    compute = settings.config.compute
    gpu = machine.computes_on_gpu(compute.device)
    if gpu and machine.gpu is None:
        yield (
            "GPU: compute.device = cuda, but torch sees none here, so no time can be estimated; "
            "run the plan where the jobs run, or set compute.device to auto or cpu"
        )
    limits = {}
    if gpu and machine.device_bytes is not None:
        limits[f"GPU memory ({machine.gpu})"] = (machine.device_bytes, lambda p: p.device)
    both = (lambda p: p.host) if gpu else (lambda p: p.host + p.device)
    limits["host memory"] = (machine.host_bytes, both)
    for what, (limit, needs) in limits.items():
        worst: dict[str, LargestJob] = {}
        for job in peaks(settings):
            known = worst.get(job.model)
            if needs(job.peak) > limit and (known is None or needs(job.peak) > needs(known.peak)):
                worst[job.model] = job
        for name, job in worst.items():
            yield (
                f"{what}: {name}: {job.name} needs {gigabytes(needs(job.peak))}, there are "
                f"{gigabytes(limit)}; {_way_out(settings, job, limit, what, gpu)}"
            )


def _way_out(settings: Settings, job: LargestJob, limit: float, what: str, gpu: bool) -> str:
    larger = "take a larger machine, or leave this model out of runs"
    if not job.requests or (gpu and what == "host memory"):
        return larger
    most = settings.config.compute.token_budget
    budget = None
    if most != "auto":
        model = settings.models[job.model]
        budget = memory.fitting_budget(
            model, limit, most, job.requests, job.contexts, not gpu, job.write
        )
    if budget is None:
        return f"no token_budget would fit: {larger}"
    return f"compute.token_budget = {budget} would fit"


def _room(machine: Machine, needed: float) -> Iterator[str]:
    if needed > machine.free_bytes:
        yield (
            f"disk: {gigabytes(needed)} are still to be written at most, "
            f"{gigabytes(machine.free_bytes)} are free; make room, or put results and resources on "
            "a larger disk"
        )


def _models(
    settings: Settings, machine: Machine, prepared: Container[str], folders: Mapping[str, bool]
) -> Iterator[str]:
    for name, model in settings.models.items():
        source = model.source
        if name in prepared:
            continue
        if isinstance(source, HubSource) and source.gated and not machine.token:
            yield (
                f"{name}: access to {source.repo} is gated and no token of the hub is set; "
                "accept the licence on the model's page and set HF_TOKEN to a token of the account "
                "that accepted it"
            )
        if isinstance(source, FolderSource) and not folders.get(name, True):
            yield (
                f"{name}: config/models/{name}.yaml: source.path = {source.path!r}: no such "
                "folder; correct it"
            )


def _files(machine: Machine, absent: Sequence[str]) -> Iterator[str]:
    if absent and not machine.offline:
        some = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        yield (
            f"{len(absent)} published files are not here yet ({some}): they are downloaded when it "
            "runs; without a network, put them into a folder and name that with `offline`"
        )
    if not machine.latex:
        yield (
            "LaTeX: neither pdflatex nor tectonic is on PATH, so tables come as .tex, .csv and "
            ".html without tables.pdf; install one of them"
        )


def gigabytes(size: float) -> str:
    """A size in bytes, in GB (10^9)."""
    return f"{size / 1e9:.1f} GB"
