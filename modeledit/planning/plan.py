"""What a study will cost, before anything runs: numbers in, a plan out.

Jobs and what is done of them, device time, memory, disk, and what stopping early saves. Operations
come from `costs`, peaks and disk from `memory`; the facts about files and earlier jobs are given.
`plan_text` prints it. No torch is imported.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from modeledit.planning import costs
from modeledit.planning.batches import SequenceChain, SequenceLine, sequence_lines
from modeledit.planning.costs import Speed
from modeledit.planning.edits import (
    Measured,
    Progress,
    earlier_keys,
    edit_of,
    keeps_keys,
    kind_of,
    scale_of,
    steps,
    write_of,
)
from modeledit.study import memory
from modeledit.study.config import ELIGIBLE, FAST_TOKENS, Settings
from modeledit.study.inventory import Inventory, downloaded
from modeledit.study.jobs import Job, Kind
from modeledit.study.layout import Run
from modeledit.study.methods import METHODS
from modeledit.study.settings import Stop

SHARD_BYTES = 0.28e9  # of the Wikipedia dump

Picks = Mapping[tuple[str, str, str], int | None]
"""The published k at which (dataset, model, method) met the rule; None where it never did."""


@dataclass(frozen=True)
class Chain:
    """A run and what is there of it: `done` of `links` jobs, `edited` of which did edit."""

    run: Run
    links: int
    done: int
    edited: int
    stopped: bool
    requests: int

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(self.links, self.done, self.edited, self.stopped)


@dataclass(frozen=True)
class Stage:
    """Jobs of one kind; `hours` of device time that are left, None where it needs no device."""

    kind: str
    jobs: int
    done: int
    hours: float | None


@dataclass(frozen=True)
class Line:
    """The edit jobs of one dataset, model and method. Hours are those left; None: not known.

    `jobs` are all links of the chains, `expected` and `most` those that will have edited, done ones
    included. `early` and `full` are (least, most) iterations under either mode, `*_hours` theirs.
    """

    dataset: str
    model: str
    method: str
    trials: int
    requests: int
    jobs: int
    done: int
    expected: int
    most: int
    first_hours: float | None
    hours: float | None
    most_hours: float | None
    device_gb: float
    host_gb: float
    measured: int  # earlier jobs that the times are scaled by
    early: tuple[int, int]
    full: tuple[int, int]
    early_hours: tuple[float, float] | None
    full_hours: tuple[float, float] | None


class _Hours(NamedTuple):
    """Times of a `Line`; nothing is known without a speed."""

    first: float | None = None
    expected: float | None = None
    most: float | None = None
    early: tuple[float, float] | None = None
    full: tuple[float, float] | None = None


@dataclass(frozen=True)
class Plan:
    """Everything that is known beforehand.

    `paper` counts files (tables, figures, report), the other stages jobs; `disk` holds bytes that
    are still to be written, by what they are.
    """

    name: str
    mode: str
    stages: list[Stage]
    edits: list[Line]
    sequences: list[SequenceLine]
    paper: Stage
    disk: dict[str, float]
    disk_expected: float

    @property
    def jobs(self) -> tuple[int, int]:
        """All jobs, edits included, and those that are done."""
        parts: list[Stage | Line] = [*self.stages, *self.edits]
        counts = [(part.jobs, part.done) for part in parts]
        counts += [count for line in self.sequences for count in line.counts.values()]
        return sum(jobs for jobs, _ in counts), sum(done for _, done in counts)

    @property
    def disk_most(self) -> float:
        return sum(self.disk.values())

    def hours(self, most: bool = False) -> float | None:
        """Device-hours left, as expected or at most; None where they are not known."""
        total = sum(stage.hours or 0 for stage in self.stages)
        lines: list[Line | SequenceLine] = [*self.edits, *self.sequences]
        for line in lines:
            hours = line.most_hours if most else line.hours
            if hours is None:
                return None
            total += hours
        return total


def make_plan(
    settings: Settings,
    jobs: Mapping[Job, bool],
    paper: Sequence[bool],
    chains: Sequence[Chain],
    measured: Sequence[Measured],
    picks: Picks,
    speeds: Mapping[str, Speed],
    sequences: Sequence[SequenceChain] = (),
) -> Plan:
    """The plan of a study.

    `jobs` says of each whether its file is there, `paper` of the files of tables, figures and the
    report. Without `speeds` no time is known.
    """
    requests = {(c.run.dataset, c.run.model, c.run.trial): c.requests for c in chains}
    requests |= {c.sequence.key[:2] + (c.sequence.trial,): c.requests for c in sequences}
    lines = edit_lines(settings, chains, measured, picks, speeds)
    of_batches = sequence_lines(settings, sequences, measured, speeds)
    parts, expected = disk(settings, jobs, chains, lines)
    if of_batches:
        parts["batches"] = sum(line.disk_most for line in of_batches)
        expected += sum(line.disk for line in of_batches)
    return Plan(
        settings.config.name,
        settings.config.stop.mode,
        stages(settings, jobs, requests, speeds),
        lines,
        of_batches,
        Stage("files of tables, figures and report", len(paper), sum(paper), None),
        parts,
        expected,
    )


def span(stop: Stop, mode: str, picks: Picks, key: tuple[str, str, str]) -> tuple[int, int]:
    """Fewest and most iterations of a run that meets the rule where the paper's did (SPEC C.1)."""
    low, high = (1 if mode == "early" else stop.iterations), stop.extended
    if key not in picks:
        return low, high
    met = min(picks[key] or high, high)
    return max(met, low), max(met, low)


def edit_lines(
    settings: Settings,
    chains: Sequence[Chain],
    measured: Sequence[Measured],
    picks: Picks,
    speeds: Mapping[str, Speed],
) -> list[Line]:
    """One line per dataset, model and method. Without a speed for a model its hours are None."""
    groups: dict[tuple[str, str, str], list[Chain]] = {}
    for chain in chains:
        run = chain.run
        groups.setdefault((run.dataset, run.model, run.method), []).append(chain)
    return [
        _line(settings, key, group, measured, picks, speeds.get(key[1]))
        for key, group in groups.items()
    ]


def _line(
    settings: Settings,
    key: tuple[str, str, str],
    chains: Sequence[Chain],
    measured: Sequence[Measured],
    picks: Picks,
    speed: Speed | None,
) -> Line:
    dataset, model, method = key
    edit, stop = edit_of(settings, *key), settings.stop(*key)
    scale, jobs = scale_of(settings, measured, model, method, speed) if speed else (1.0, 0)
    as_printed = kind_of(settings, dataset) + (ELIGIBLE if dataset.endswith(ELIGIBLE) else "")
    spans = {m: span(stop, m, picks, (as_printed, model, method)) for m in ("early", "full")}

    # Runs of the same kind that have stopped say it best, then the paper, then the usual budget.
    stops = [chain.edited for chain in chains if chain.stopped]
    low, high = spans[settings.config.stop.mode]
    usual = round(sum(stops) / len(stops)) if stops else min(max(stop.iterations, low), high)

    def likely(chain: Chain) -> int:
        return chain.progress.likely(usual)

    def most(chain: Chain) -> int:
        return chain.progress.most

    def hours(speed: Speed, requests: int, first: int, last: int, all_steps: bool = False) -> float:
        """Device-hours of iterations first..last of one run."""
        total = 0.0
        for k in range(first, last + 1):
            n = steps(edit.hyper, method, k)
            n = edit.hyper.steps if all_steps and n else n
            earlier = earlier_keys(settings, method, requests, 0, k - 1)
            total += edit.job(requests, n, earlier).seconds(speed)
        return scale * total / 3600

    def both(speed: Speed, mode: str) -> tuple[float, float]:
        low, high = (sum(hours(speed, c.requests, 1, n) for c in chains) for n in spans[mode])
        return low, high

    requests = max(chain.requests for chain in chains)
    times = _Hours()
    if speed:
        times = _Hours(
            first=hours(speed, requests, 1, 1, all_steps=True),
            expected=sum(hours(speed, c.requests, c.edited + 1, likely(c)) for c in chains),
            most=sum(hours(speed, c.requests, c.edited + 1, most(c), True) for c in chains),
            early=both(speed, "early"),
            full=both(speed, "full"),
        )
    counts = {mode: (len(chains) * low, len(chains) * high) for mode, (low, high) in spans.items()}
    write = write_of(settings, chains[0].run)
    peak = memory.editing(edit.model, edit.token_budget, requests, edit.method.n_contexts, write)
    return Line(
        *key,
        trials=len(chains),
        requests=requests,
        jobs=sum(chain.links for chain in chains),
        done=sum(chain.done for chain in chains),
        expected=sum(map(likely, chains)),
        most=sum(map(most, chains)),
        device_gb=peak.device / 1e9,
        host_gb=peak.host / 1e9,
        measured=jobs,
        early=counts["early"],
        full=counts["full"],
        first_hours=times.first,
        hours=times.expected,
        most_hours=times.most,
        early_hours=times.early,
        full_hours=times.full,
    )


def covariance_tokens(settings: Settings, model: str) -> tuple[float, float]:
    """(tokens, tokens of an article) that a covariance is gathered from."""
    text, recipe = settings.config.text, settings.config.covariance
    if recipe.source == "embedded":
        article = min(text.covariance_length, costs.EXCERPT_TOKENS)
        return text.covariance_articles * article, article
    article = min(recipe.length or costs.ARTICLE_TOKENS, costs.ARTICLE_TOKENS)
    if recipe.source == "fast":
        return FAST_TOKENS * settings.models[model].mlp_width, article
    return recipe.articles * article, article


def stages(
    settings: Settings,
    jobs: Mapping[Job, bool],
    requests: Mapping[tuple[str, str, int], int],
    speeds: Mapping[str, Speed],
) -> list[Stage]:
    """All stages but the edits: `jobs` says of each job whether its file is there.

    `requests` says how many (dataset, model, trial) has.
    """
    kinds: dict[Kind, list[Job]] = {}
    for job in jobs:
        kinds.setdefault(job.kind, []).append(job)
    found = []
    for kind, alike in kinds.items():
        left = [(job, work_of(settings, job, requests)) for job in alike if not jobs[job]]
        seconds = [work.seconds(speeds[job.model]) for job, work in left if work and speeds]
        done = sum(jobs[job] for job in alike)
        found.append(Stage(kind, len(alike), done, sum(seconds) / 3600 if seconds else None))
    return found


def work_of(
    settings: Settings, job: Job, requests: Mapping[tuple[str, str, int], int]
) -> costs.Work | None:
    """What a job computes with its model; None where it needs none."""
    if job.kind is Kind.CONTEXTS:
        return costs.contexts(settings.models[job.model], _context_lengths(settings, job.model))
    if job.kind is Kind.GATHER:
        tokens, article = covariance_tokens(settings, job.model)
        model, layers = settings.models[job.model], settings.layers(job.model)
        return costs.gathering(model, layers, tokens, article)
    if job.kind is Kind.FACTORIZE:
        return costs.factorizing(settings.models[job.model], settings.factor_layers(job.model))
    if job.kind is Kind.NULL_SPACE:
        layers = settings.null_space_layers(job.model)
        return costs.finding_null_spaces(settings.models[job.model], layers)
    if job.kind in (Kind.ELIGIBLE, Kind.UNEDITED):
        return costs.scoring(
            settings.models[job.model],
            costs.SHAPES[kind_of(settings, job.dataset)],
            requests[job.dataset, job.model, job.trial],
            settings.config.text.perplexity_texts if job.kind is Kind.UNEDITED else 0,
            settings.config.compute.most_tokens(gpu=True),
        )
    if job.kind in (Kind.CONTINUE, Kind.TELL, Kind.ASK, Kind.DRIFT):
        return _observing(settings, job, requests[job.dataset, job.model, job.trial])
    return None


def _observing(settings: Settings, job: Job, requests: int) -> costs.Work:
    """What a job computes that observes a state."""
    model, asked = settings.models[job.model], settings.config.evaluation
    budget = settings.config.compute.most_tokens(gpu=True)
    shape = costs.SHAPES[kind_of(settings, job.dataset)]
    texts = settings.config.text.perplexity_texts
    if job.kind is Kind.CONTINUE and asked.generation:
        prompts, tokens, most = shape.answers, shape.scored, asked.generation.tokens
    elif job.kind is Kind.TELL and asked.fluency:
        prompts, most = len(asked.fluency.prompts), asked.fluency.tokens
        tokens = prompts * costs.SUBJECT_TOKENS
    elif job.kind is Kind.ASK and asked.probes:
        prompts, most = costs.PROBES, asked.probes.tokens
        tokens = prompts * costs.PROBE_TOKENS
    else:
        return costs.drifting(model, texts, budget)
    said = costs.Asked(requests * prompts, requests * tokens, most)
    return costs.continuing(model, said, budget)


def _context_lengths(settings: Settings, model: str) -> list[tuple[int, int]]:
    """(tokens, prefixes per seed word) of all context sets that a model's methods need."""
    methods = [METHODS[chain.method] for chain in settings.chains if chain.model == model]
    sets = {method.context_set: method.context_lengths for method in methods}
    return [pair for lengths in sets.values() for pair in lengths]


def needed_downloads(settings: Settings) -> dict[str, float]:
    """{name: bytes} of the published files that the runs need; those that are small count 0."""
    large: dict[str, float] = {shard.name: SHARD_BYTES for shard in settings.sources.shards()}
    if settings.config.covariance.source == "authors":
        for model, described in settings.models.items():
            for layer in settings.layers(model):
                large[settings.sources.statistics(model, layer).name] = 4 * described.mlp_width**2
    return {name: large.get(name, 0) for name in Inventory(settings).needed_downloads()}


def disk(
    settings: Settings,
    jobs: Mapping[Job, bool],
    chains: Sequence[Chain],
    lines: Sequence[Line],
) -> tuple[dict[str, float], float]:
    """Bytes still to be written: at most, by what they are, and all that are expected."""
    downloads = {downloaded(name): size for name, size in needed_downloads(settings).items()}
    parts = dict.fromkeys(("downloads", "models", "statistics", "states"), 0.0)
    layers_of = {
        Kind.CONVERT: settings.layers,
        Kind.GATHER: settings.layers,
        Kind.FACTORIZE: settings.factor_layers,
        Kind.NULL_SPACE: settings.null_space_layers,
    }
    for job in (job for job, here in jobs.items() if not here):
        if job.kind is Kind.DOWNLOAD:
            parts["downloads"] += downloads[job.file]
        elif job.kind is Kind.PREPARE:
            model = settings.models[job.model]
            copies = 2 if model.source.kind == "hub" else 1  # one lies in the hub's cache
            parts["models"] += copies * memory.disk(model, 0, 0).model
        elif job.kind in layers_of:
            model, layers = settings.models[job.model], layers_of[job.kind](job.model)
            sizes = memory.disk(model, len(layers), 0)
            parts["statistics"] += {
                Kind.FACTORIZE: sizes.factors,
                Kind.NULL_SPACE: sizes.null_spaces,
            }.get(job.kind, sizes.covariances)
    expected = sum(parts.values())
    edited: Counter[tuple[str, str, str]] = Counter()
    for chain in chains:
        edited[chain.run.dataset, chain.run.model, chain.run.method] += chain.edited
    for line in lines:
        key = line.dataset, line.model, line.method
        written = edit_of(settings, *key).hyper.layers
        one = memory.disk(settings.models[line.model], len(written), 1).run
        if keeps_keys(settings, line.method):
            model = settings.models[line.model]
            one += memory.kept_keys(model, len(written), line.requests)
        parts["states"] += one * (line.most - edited[key])
        expected += one * (line.expected - edited[key])
    return parts, expected
