"""A plan as plain text: tables of jobs, edits, stopping and disk, and what is missing.

No line is longer than WIDTH, so that it can be read in a terminal of that width.
"""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from modeledit.planning.batches import SequenceLine
from modeledit.planning.costs import Speed
from modeledit.planning.durations import duration
from modeledit.planning.plan import Line, Plan
from modeledit.planning.preflight import Machine, gigabytes
from modeledit.study.jobs import Kind
from modeledit.study.settings import Compute

WIDTH = 100
E = TypeVar("E", bound=Line | SequenceLine)


def describe(
    plan: Plan,
    machine: Machine,
    compute: Compute,
    speeds: Mapping[str, Speed],
    missing: Sequence[str],
    busy: bool = False,
) -> str:
    """The whole plan; `compute` is the configuration's, `busy` whether other work was running."""
    parts = [
        _head(plan),
        _times(machine, compute, speeds, busy),
        _stages(plan),
        *_edit_tables(plan, machine.computes_on_gpu(compute.device)),
        _total(plan, machine, compute),
        *([_stopping(plan)] if plan.edits else []),
        _disk(plan, machine),
        _missing(missing),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _head(plan: Plan) -> list[str]:
    lines: list[Line | SequenceLine] = [*plan.edits, *plan.sequences]
    jobs, done = sum(e.jobs for e in lines), sum(e.done for e in lines)
    expected, most = sum(e.expected for e in lines), sum(e.most for e in lines)
    return _prose(
        f"Plan of {plan.name}, stop.mode {plan.mode}: {jobs} edit jobs, {done} of them done. "
        f"{expected} are expected to edit, {most} at most; those after a stop only pass it on, in "
        "a second."
    )


def _times(
    machine: Machine, compute: Compute, speeds: Mapping[str, Speed], busy: bool
) -> list[str]:
    if not speeds:
        return _prose("Times are not known: the device that the jobs ask for is not here.")
    lines = _prose(
        "Times are ESTIMATES: operations counted from shapes, over the speed of plain products "
        "measured now. Take them as right within a factor of two on a CPU, where that was checked; "
        "no GPU has been. Expected: as many iterations as finished runs of the kind took, else the "
        "paper's, else stop.iterations, and fewer steps in each. At most: no run stops and every "
        "iteration makes all its steps."
    )
    for name, speed in speeds.items():
        rates = [f"{r / 1e9:.3g}" for r in (speed.optimization, speed.forward, speed.double)]
        lines += _prose(
            f"{name} on {speed.device}: {rates[0]} GFLOP/s in OPTIMIZATION "
            f"({compute.precision}), {rates[1]} in float32, {rates[2]} in float64",
            "  ",
        )
    if busy:
        lines += _prose(
            "The machine was busy while this was measured: idle, it may be much faster."
        )
    return lines


def _stages(plan: Plan) -> list[str]:
    rows: list[Sequence[object]] = [["job", "all", "done", "device time left"]]
    rows += [
        [s.kind, s.jobs, s.done, "-" if s.hours is None else _time(s.hours)] for s in plan.stages
    ]
    if plan.edits:
        done, jobs = sum(e.done for e in plan.edits), sum(e.jobs for e in plan.edits)
        rows.append(["edit", jobs, done, _range(plan.edits)])
    if plan.sequences:
        rows += _batch_jobs(plan.sequences)
    rows.append(["total", *plan.jobs, ""])
    rows.append([plan.paper.kind, plan.paper.jobs, plan.paper.done, ""])
    return _table(rows)


def _batch_jobs(lines: Sequence[SequenceLine]) -> Iterator[Sequence[object]]:
    """Rows of the jobs of sequences of batches, by rule."""
    scores = [e.score_hours for e in lines]
    known = [hours for hours in scores if hours is not None]
    times = {
        "edit_batch": _span_of_time(_edit_hours(lines)),
        "keep_batch": "-",
        "score_batch": _time(sum(known) if len(known) == len(lines) else None),
    }
    for rule, time in times.items():
        jobs, done = (sum(e.counts[rule][i] for e in lines) for i in (0, 1))
        yield [rule, jobs, done, time]


def _edit_hours(lines: Sequence[SequenceLine]) -> tuple[float, float] | None:
    """Hours of the iterations alone, expected and at most."""
    low = high = 0.0
    for e in lines:
        if e.hours is None or e.most_hours is None or e.score_hours is None:
            return None
        low += e.hours - e.score_hours
        high += e.most_hours - e.score_hours
    return low, high


def _edit_tables(plan: Plan, gpu: bool) -> Iterator[list[str]]:
    """The edits of runs and of batches in sequence, as far as there are any."""
    tables: list[list[str]] = []
    if plan.edits:
        heads = _heads("edits of", "trials x", "requests")
        tables.append(_grouped(heads, plan.edits, lambda e: _edit_row(e, e.requests, gpu)))
    if plan.sequences:
        heads = _heads("batches of", "trials x", "batches")
        rows = _grouped(heads, plan.sequences, lambda e: _edit_row(e, _batches(e), gpu))
        rows += _prose(
            "Each batch is iterated to its stop before the next starts; after it all that was "
            "edited so far is scored, which the time left holds."
        )
        tables.append(rows)
    if tables and plan.hours() is not None:
        tables[-1] += _prose(_basis([*plan.edits, *plan.sequences]))
    if any(s.kind == Kind.ELIGIBLE and s.done < s.jobs for s in plan.stages):
        tables[-1] += _prose(
            "The neighbor filter has not run yet: of the requests of -eligible datasets fewer will "
            "be left."
        )
    yield from tables


def _heads(*first: str) -> list[Sequence[str]]:
    """The two lines above the edits: what they are of, and how many there are."""
    of, trials, what = first
    return [
        [of, trials, "jobs", "that", "a job,", "time left,", "", "GB of", "GB of"],
        ["", what, "done", "edit", "at most", "expected", "at most", "device", "host"],
    ]


def _batches(e: SequenceLine) -> str:
    return f"{e.batches} x {e.size}"


def _edit_row(e: Line | SequenceLine, requests: object, gpu: bool) -> list[object]:
    host = e.host_gb + (0 if gpu else e.device_gb)
    left = ["?", "?"] if e.hours is None or e.most_hours is None else [e.hours, e.most_hours]
    return [
        f"{e.trials} x {requests}",
        f"{e.done} of {e.jobs}",
        f"{e.expected}-{e.most}" if e.expected != e.most else e.most,
        _time(e.first_hours),
        *(_time(hours) if isinstance(hours, float) else hours for hours in left),
        f"{e.device_gb:.1f}" if gpu else "-",
        f"{host:.1f}",
    ]


def _basis(lines: Sequence[Line | SequenceLine]) -> str:
    """Which times of edits earlier jobs have corrected."""
    counts = dict.fromkeys(f"{e.measured} of {e.method} on {e.model}" for e in lines if e.measured)
    if not counts:
        return "These times are estimated; none has been measured on this device."
    rest = "; the others are estimated" if not all(e.measured for e in lines) else ""
    return f"Times are scaled by earlier jobs on this device: {', '.join(counts)}{rest}."


def _total(plan: Plan, machine: Machine, compute: Compute) -> list[str]:
    expected, most = plan.hours(), plan.hours(most=True)
    lines = [f"Device time left: {_time(expected)} expected, {_time(most)} at most."]
    if expected is None or most is None:
        return lines
    if not machine.computes_on_gpu(compute.device) and machine.at_once > 1:
        together = _time(expected / machine.at_once), _time(most / machine.at_once)
        lines[0] = lines[0][:-1] + (
            f"; {together[0]} and {together[1]} with {machine.at_once} jobs at a time, which all "
            "cores allow."
        )
    lines = _prose(lines[0])
    return [*lines, "Jobs without a device take seconds each on top, and downloads what they take."]


def _stopping(plan: Plan) -> list[str]:
    def row(e: Line) -> list[object]:
        times = [_span_of_time(e.full_hours), _span_of_time(e.early_hours)]
        return [_span(e.full), _span(e.early), *times]

    counts = [_span(_both(e.full for e in plan.edits)), _span(_both(e.early for e in plan.edits))]
    times = ["?", "?"]
    full = [e.full_hours for e in plan.edits if e.full_hours]
    early = [e.early_hours for e in plan.edits if e.early_hours]
    if len(full) == len(early) == len(plan.edits):
        times = [_span_of_time(_both(hours)) for hours in (full, early)]
    heads = [["what stopping saves", "jobs, full", "jobs, early", "time, full", "time, early"]]
    return [
        *_grouped(heads, plan.edits, row, ["total", *counts, *times]),
        *_prose(
            "Iterations that edit and their expected device time under either stop.mode, of the "
            "whole study, by when the paper's runs met the rule; a range where nobody knows."
        ),
    ]


def _both(pairs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The sums of the lows and of the highs."""
    lows, highs = zip(*pairs, strict=True)
    return sum(lows), sum(highs)


def _disk(plan: Plan, machine: Machine) -> list[str]:
    fits = "fits" if plan.disk_most <= machine.free_bytes else "DOES NOT FIT"
    parts = ", ".join(f"{name} {gigabytes(size)}" for name, size in plan.disk.items())
    return _prose(
        f"Disk: {fits}. {gigabytes(machine.used_bytes)} used by this study and the resources, "
        f"{gigabytes(machine.free_bytes)} free. Still to be written: "
        f"{gigabytes(plan.disk_expected)} expected, {gigabytes(plan.disk_most)} at most ({parts})."
    )


def _missing(lines: Sequence[str]) -> list[str]:
    if not lines:
        return ["Nothing is missing."]
    return ["Missing", *(part for line in lines for part in _prose(f"- {line}", "  "))]


def _range(lines: Sequence[Line | SequenceLine]) -> str:
    hours = [e.hours for e in lines if e.hours is not None]
    most = [e.most_hours for e in lines if e.most_hours is not None]
    if not len(hours) == len(most) == len(lines):
        return "?"
    return _span_of_time((sum(hours), sum(most)))


def _span(pair: Sequence[float]) -> str:
    low, high = pair
    return f"{low}" if low == high else f"{low}-{high}"


def _span_of_time(pair: Sequence[float] | None) -> str:
    if pair is None:
        return "?"
    low, high = map(_time, pair)
    return low if low == high else f"{low} - {high}"


def _time(hours: float | None) -> str:
    return "?" if hours is None else duration(3600 * hours)


def _prose(text: str, indent: str = "") -> list[str]:
    """Sentences in lines of WIDTH; `indent` stands before all but the first. Names stay whole."""
    return textwrap.wrap(
        text,
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _grouped(
    heads: Sequence[Sequence[object]],
    edits: Sequence[E],
    row: Callable[[E], Sequence[object]],
    total: Sequence[object] = (),
) -> list[str]:
    """A table of edits: a line for each dataset and model, below it a row for each method."""
    groups: dict[tuple[str, str], list[E]] = {}
    for e in edits:
        groups.setdefault((e.dataset, e.model), []).append(e)
    rows: list[Sequence[object]] = list(heads)
    for group in groups.values():
        rows += [[f"  {e.method}", *row(e)] for e in group]
    aligned = iter(_table([*rows, total] if total else rows))
    text = [next(aligned) for _ in heads]
    for (dataset, model), group in groups.items():
        text += [f"{dataset}, {model}", *(next(aligned) for _ in group)]
    return [*text, *aligned]


def _table(rows: Sequence[Sequence[object]]) -> list[str]:
    """Aligned rows: the first column to the left, the others to the right."""
    text = [[str(cell) for cell in row] for row in rows]
    first, *others = (max(map(len, column)) for column in zip(*text, strict=True))
    return [
        "  ".join(
            [row[0].ljust(first), *(c.rjust(w) for c, w in zip(row[1:], others, strict=True))]
        ).rstrip()
        for row in text
    ]
