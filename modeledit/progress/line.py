"""The one line that says how far a run is."""

from modeledit.planning.durations import duration
from modeledit.planning.forecast import EDITS
from modeledit.progress.watch import Running, Watch

LONG = 5.0  # seconds: a job that takes less is not spoken of


def progress_line(watch: Watch, now: float, width: int | None = None) -> str:
    """Jobs done of all, the time left, what the jobs at work are at; `width` characters at most."""
    left = watch.time_left(now)
    line = f"{watch.done:,} of {watch.total:,} jobs"
    line += f", {_time_left(left)}"
    if waiting := sum(not one.works and now - one.since > LONG for one in watch.running.values()):
        line += f", {waiting:,} waiting to start"
    at_work = [
        one
        for one in watch.running.values()
        if one.works and not one.ended and now - one.since >= LONG
    ]
    told = [what_it_is_at(one, now) for one in sorted(at_work, key=lambda one: one.since)]
    separators = [" | ", *[" · "] * len(told)]
    for number, (separator, text) in enumerate(zip(separators, told, strict=False)):
        rest = len(told) - number - 1
        more = f" and {rest} more" if rest else ""
        if width and number and len(line + separator + text + more) > width:
            line += f" and {rest + 1} more"
            break
        line += separator + (_cut(text, width - len(line + separator + more)) if width else text)
    return _cut(line, width) if width else line


def _cut(text: str, width: int) -> str:
    """`text` in at most `width` characters, of which there are a few."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"


def _time_left(seconds: float | None) -> str:
    if seconds is None:
        return "time left not known yet"
    return f"about {duration(seconds)} left" if seconds >= LONG else "a few seconds left"


def what_it_is_at(running: Running, now: float) -> str:
    """A job by its name, and how far it is: what it has counted, else for how long it has run."""
    name, at = _name(running), running.reached
    if at is None:
        return f"{name}, {duration(now - running.since)} so far"
    unit = f" {at.unit}s" if at.unit != "B" else " bytes"
    left = "" if at.likely_left is None else f", {duration(at.likely_left)} left"
    return f"{name}: {_grouped(at.done)} of {_grouped(at.total)}{unit}{left}"


def _name(running: Running) -> str:
    """What a job is called: an iteration shortly, others as Snakemake does."""
    job, names = running.job, running.job.names
    if job.rule not in EDITS:
        return running.text or job.rule
    batch = f", batch {names['batch']}" if "batch" in names else ""
    return f"{names['method']} trial {names['trial']}{batch}, k = {names['k']}"


def _grouped(number: str) -> str:
    return f"{int(number):,}" if number.isdecimal() else number
