"""What sequences of batches will cost: each batch is iterated to its stop, then all is scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modeledit.planning import costs
from modeledit.planning.costs import Edit, Speed
from modeledit.planning.edits import (
    Measured,
    Progress,
    earlier_keys,
    edit_of,
    keeps_keys,
    scale_of,
    steps,
    write_of,
)
from modeledit.study import layout, memory
from modeledit.study.config import Settings


@dataclass(frozen=True)
class BatchState:
    """What is there of a batch: its iterations, what it left for the next one, its scores."""

    progress: Progress
    kept: bool
    scored: bool


@dataclass(frozen=True)
class SequenceChain:
    """A sequence and what is there of it; its trial has `requests`."""

    sequence: layout.Sequence
    batches: tuple[BatchState, ...]
    requests: int


@dataclass(frozen=True)
class SequenceLine:
    """The batches of one dataset, model, method and size. Hours are those left; None: not known.

    `counts` are (jobs, done) of each rule, `iterations` the most of a batch, `expected` and `most`
    the iterations of all batches that will have edited, done ones included. `hours` hold
    `score_hours`. `disk` and `disk_most` are bytes still to be written.
    """

    dataset: str
    model: str
    method: str
    size: int
    batches: int
    trials: int
    iterations: int
    counts: dict[str, tuple[int, int]]
    expected: int
    most: int
    first_hours: float | None
    hours: float | None
    most_hours: float | None
    score_hours: float | None
    device_gb: float
    host_gb: float
    measured: int  # earlier jobs that the times are scaled by
    disk: float
    disk_most: float

    @property
    def jobs(self) -> int:
        """Iterations of all batches, those that will only pass a stop on included."""
        return self.counts["edit_batch"][0]

    @property
    def done(self) -> int:
        """Those that are done."""
        return self.counts["edit_batch"][1]


def sequence_lines(
    settings: Settings,
    chains: Sequence[SequenceChain],
    measured: Sequence[Measured],
    speeds: Mapping[str, Speed],
) -> list[SequenceLine]:
    """One line per dataset, model, method and size; without a speed its hours are None."""
    groups: dict[tuple[str, str, str, int], list[SequenceChain]] = {}
    for chain in chains:
        one = chain.sequence
        groups.setdefault((one.dataset, one.model, one.method, one.size), []).append(chain)
    return [_line(settings, alike, measured, speeds.get(key[1])) for key, alike in groups.items()]


def _line(
    settings: Settings,
    chains: Sequence[SequenceChain],
    measured: Sequence[Measured],
    speed: Speed | None,
) -> SequenceLine:
    one = chains[0].sequence
    edit = edit_of(settings, one.dataset, one.model, one.method)
    stop = settings.stop_of_batch(one)
    batches = [batch for chain in chains for batch in chain.batches]
    progress = [batch.progress for batch in batches]
    # Batches of the kind that have stopped say it best, then the usual budget.
    stops = [part.edited for part in progress if part.stopped]
    usual = round(sum(stops) / len(stops)) if stops else stop.iterations
    first = expected = most = scores = None
    jobs = 0
    if speed:
        scale, jobs = scale_of(settings, measured, one.model, one.method, speed)
        time = _Time(settings, edit, one.size, usual, scale, speed)
        first = time.iteration(1, 0, 0, all_steps=True)
        scores = sum(map(time.scores, chains))
        expected = scores + sum(time.edits(chain) for chain in chains)
        most = scores + sum(time.edits(chain, most=True) for chain in chains)
    peak = memory.editing(
        edit.model,
        edit.token_budget,
        one.size,
        edit.method.n_contexts,
        write_of(settings, one),
    )
    disk = [_disk(settings, edit, chain, usual) for chain in chains]
    return SequenceLine(
        one.dataset,
        one.model,
        one.method,
        one.size,
        batches=one.count,
        trials=len(chains),
        iterations=stop.extended,
        counts={
            "edit_batch": (sum(p.links for p in progress), sum(p.done for p in progress)),
            "keep_batch": (len(batches), sum(batch.kept for batch in batches)),
            "score_batch": (len(batches), sum(batch.scored for batch in batches)),
        },
        expected=sum(part.likely(usual) for part in progress),
        most=sum(part.most for part in progress),
        first_hours=first,
        hours=expected,
        most_hours=most,
        score_hours=scores,
        device_gb=peak.device / 1e9,
        host_gb=peak.host / 1e9,
        measured=jobs,
        disk=sum(expected for expected, _ in disk),
        disk_most=sum(most for _, most in disk),
    )


@dataclass(frozen=True)
class _Time:
    """Device-hours of the batches of one kind, where they take `usual` iterations each."""

    settings: Settings
    edit: Edit
    size: int
    usual: int
    scale: float
    speed: Speed

    def iteration(self, k: int, batches: int, wrote: int, all_steps: bool = False) -> float:
        """Of iteration `k` of a batch, after `batches` batches and `wrote` iterations in all."""
        method = self.edit.method.name
        made = steps(self.edit.hyper, method, k)
        made = self.edit.hyper.steps if all_steps and made else made
        earlier = earlier_keys(self.settings, method, self.size, batches, wrote)
        seconds = self.edit.iteration(self.size, made, earlier).seconds(self.speed)
        return self.scale * seconds / 3600

    def edits(self, chain: SequenceChain, most: bool = False) -> float:
        """Of the iterations that are left of a sequence."""
        total, wrote = 0.0, 0
        for number, batch in enumerate(chain.batches):
            last = batch.progress.most if most else batch.progress.likely(self.usual)
            for k in range(batch.progress.edited + 1, last + 1):
                total += self.iteration(k, number, wrote + k - 1, all_steps=most)
            wrote += last
        return total

    def scores(self, chain: SequenceChain) -> float:
        """Of the scores that are left: after each batch those of all batches so far."""
        seconds = (
            costs.scoring(
                self.edit.model,
                self.edit.shape,
                number * self.size,
                self.edit.texts,
                self.edit.token_budget,
            ).seconds(self.speed)
            for number, batch in enumerate(chain.batches, start=1)
            if not batch.scored
        )
        return sum(seconds) / 3600


def _disk(settings: Settings, edit: Edit, chain: SequenceChain, usual: int) -> tuple[float, float]:
    """Bytes that a sequence still writes: expected, and at most.

    Matrices of the iterations of one batch at a time, of the batch before and of what stays; keys
    of all iterations that edit and of each batch.
    """
    left = [batch for batch in chain.batches if not batch.kept]
    if not left:
        return 0.0, 0.0
    layers = len(edit.hyper.layers)
    matrices = memory.disk(edit.model, layers, 1).run
    stay = len(left) if chain.sequence.keep == "all" else 1
    keys = 0.0
    if keeps_keys(settings, edit.method.name):
        keys = memory.kept_keys(edit.model, layers, chain.sequence.size)

    def written(counts: Sequence[int]) -> float:
        new = sum(counts) - sum(batch.progress.edited for batch in left)
        at_once = max(counts) + max(stay, 2)
        return matrices * at_once + keys * (new + len(left))

    expected = written([batch.progress.likely(usual) for batch in left])
    return expected, written([batch.progress.most for batch in left])
