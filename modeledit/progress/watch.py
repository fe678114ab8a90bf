"""What a run has done, what is under way, and how long the rest is likely to take."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modeledit.io.log import Reached, reached, seconds_taken
from modeledit.planning.edits import Progress
from modeledit.planning.forecast import EDITS, PASSING, Forecast

SOON = 5.0  # seconds in which a job that need not wait writes its first line
STARTING = 1.0  # seconds of a job before its log begins, and after its end
Key = tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """A job of the run: its rule, its wildcards and its log, if it has one."""

    number: int
    rule: str
    names: Mapping[str, str]
    log: Path | None

    @property
    def chain(self) -> Key | None:
        """What the iterations of a run, or of a batch, share; None of other jobs."""
        if self.rule not in EDITS:
            return None
        return tuple(text for name, text in sorted(self.names.items()) if name != "k")

    @property
    def alike(self) -> Key:
        """What jobs share that take as long as was forecast for them, but for one factor."""
        return self.rule, self.names.get("model", ""), self.names.get("method", "")


@dataclass
class Running:
    """A job that was started or submitted at `since` (seconds of a clock that never jumps).

    It is at work once its log is another one than `log_before`, its date then: on a cluster a job
    waits. Once its log says so it has `ended`, which Snakemake may see later. `text` is what
    Snakemake calls it.
    """

    job: Job
    since: float
    text: str
    log_before: int | None
    works: bool = False
    ended: bool = False
    reached: Reached | None = None

    def look(self, now: float) -> None:
        """See whether it is at work by now, and how far it says it is."""
        if not self.works and _date(self.job.log) != self.log_before:
            self.works = True
            if now - self.since > SOON:  # it has waited; before that, it was being started
                self.since = now
        if self.works and self.job.log:
            self.reached = reached(self.job.log)
            self.ended = seconds_taken(self.job.log) is not None


@dataclass
class _Taken:
    """Seconds that jobs took, and that were forecast for them."""

    measured: float = 0.0
    forecast: float = 0.0

    def add(self, measured: float, forecast: float) -> None:
        self.measured, self.forecast = self.measured + measured, self.forecast + forecast

    @property
    def factor(self) -> float | None:
        return self.measured / self.forecast if self.forecast else None


@dataclass
class Watch:
    """A run whose `jobs` are to be made, all of them; told of each that starts and ends."""

    forecast: Forecast
    jobs: Iterable[Job]
    total: int = 0
    done: int = 0
    running: dict[int, Running] = field(default_factory=dict)
    _left: dict[int, Job] = field(default_factory=dict)
    _seconds: dict[int, float] = field(default_factory=dict)
    _taken: dict[Key, _Taken] = field(default_factory=lambda: defaultdict(_Taken))
    _stops: dict[Key, list[int]] = field(default_factory=lambda: defaultdict(list))
    _chains: dict[Key, Progress] = field(default_factory=dict)
    _at_once: int = 1
    _failed: bool = False

    def __post_init__(self) -> None:
        self._left = {job.number: job for job in self.jobs}
        self.total = len(self._left)
        self._seconds = {
            number: self.forecast.seconds(job.rule, job.names) for number, job in self._left.items()
        }
        chains: dict[Key, list[Job]] = defaultdict(list)
        for job in self._left.values():
            if job.chain:
                chains[job.chain].append(job)
        for jobs in chains.values():
            self._look_back(min(jobs, key=lambda job: int(job.names["k"])), len(jobs))

    @property
    def going(self) -> bool:
        """Whether there are jobs to speak of: some run, or will."""
        return bool(self.running) or bool(self._left) and not self._failed

    def start(self, number: int, text: str, now: float) -> None:
        """A job starts, or is submitted."""
        if job := self._left.get(number):
            self._failed = False
            self.running[number] = Running(job, now, text, _date(job.log), works=job.log is None)

    def fail(self, number: int) -> None:
        """A job failed; it may be started again."""
        self._failed = True
        self.running.pop(number, None)

    def finish(self, number: int, now: float) -> None:
        """A job ended well."""
        running, job = self.running.pop(number, None), self._left.pop(number, None)
        if job is None:
            return
        self.done += 1
        said = seconds_taken(job.log) if job.log else None
        seconds = None if said is None else said + STARTING
        if running and running.works:  # what Snakemake does around it counts
            seconds = max(now - running.since, seconds or 0.0)
        passed = job.chain is not None and self._passes(job)
        if job.chain:
            self._look_on(job)
        if seconds is not None and job.log and not passed:
            self._taken[job.alike].add(seconds, self._seconds[number])

    def look(self, now: float) -> None:
        """See which jobs are at work."""
        for running in self.running.values():
            running.look(now)
        at_work = sum(one.works and not one.ended for one in self.running.values())
        self._at_once = max(self._at_once, at_work)

    def time_left(self, now: float) -> float | None:
        """Seconds until the run ends; None until a job that runs a model tells how fast it is.

        All that is left is shared among as many jobs as were at work at once so far; iterations of
        a run wait for each other.
        """
        told = self._told_so_far(now)
        everything, chains = 0.0, defaultdict[Key, float](float)
        for number, job in self._left.items():
            running = self.running.get(number)
            seconds = self._job_left(job, running, now, told)
            if seconds is None:
                return None
            everything += seconds
            if job.chain:
                chains[job.chain] += seconds
        return max([everything / self._at_once, *chains.values()])

    def _job_left(
        self, job: Job, running: Running | None, now: float, told: Mapping[Key, _Taken]
    ) -> float | None:
        """Seconds that are left of a job."""
        if running and running.ended:
            return 0.0
        if self._passes(job):
            return PASSING
        factor = self._factor(job, told)
        seconds = None if factor is None else factor * self._seconds[job.number]
        if running is None or not running.works:
            return seconds
        if (at := running.reached) and at.likely_left is not None:
            return at.likely_left
        return None if seconds is None else max(1.0, seconds - (now - running.since))

    def _told_so_far(self, now: float) -> dict[Key, _Taken]:
        """What jobs took that have ended; where none has of a kind, what those at work expect."""
        told = dict(self._taken)
        for number, running in self.running.items():
            at = running.reached
            if running.job.alike not in told and at and at.likely_left is not None:
                seconds = max(now - running.since, at.spent) + at.likely_left
                told[running.job.alike] = _Taken(seconds, self._seconds[number])
        return told

    def _factor(self, job: Job, told: Mapping[Key, _Taken]) -> float | None:
        """What the forecast of a job is to be multiplied by."""
        if job.alike in told and (own := told[job.alike].factor) is not None:
            return own
        computes = self.forecast.computes(job.rule)
        others = _Taken()
        for (rule, *_), taken in told.items():
            if self.forecast.computes(rule) == computes:
                others.add(taken.measured, taken.forecast)
        return others.factor or (None if computes else 1.0)

    # Stops

    def _passes(self, job: Job) -> bool:
        """Whether an iteration is likely to pass a stop on only."""
        if not job.chain:
            return False
        progress, k = self._chains[job.chain], int(job.names["k"])
        stops = self._stops[self._kind(job)]
        usual = round(sum(stops) / len(stops)) if stops else self.forecast.usual(job.names)
        return k > progress.likely(usual)

    def _look_back(self, first: Job, links: int) -> None:
        """Learn of a chain's iterations that were there before the run; `first` is to be made."""
        stop, made = self.forecast.stop_before(first.names), int(first.names["k"]) - 1
        self._note(first, Progress(made + links, made, stop or made, stop is not None))

    def _look_on(self, job: Job) -> None:
        """Learn whether a chain has stopped with the iteration that has just ended."""
        before, k = self._chains[job.chain or ()], int(job.names["k"])
        if before.stopped:
            return
        stop = self.forecast.stop_before({**job.names, "k": str(k + 1)})
        self._note(job, Progress(before.links, k, stop or k, stop is not None))

    def _note(self, job: Job, progress: Progress) -> None:
        self._chains[job.chain or ()] = progress
        if progress.stopped:
            self._stops[self._kind(job)].append(progress.edited)

    @staticmethod
    def _kind(job: Job) -> Key:
        """Chains that are likely to stop after as many iterations."""
        return tuple(job.names[name] for name in ("dataset", "model", "method"))


def _date(log: Path | None) -> int | None:
    """When a log was written last, in nanoseconds; None where there is none."""
    try:
        return log.stat().st_mtime_ns if log else None
    except OSError:
        return None
