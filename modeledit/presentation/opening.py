"""What the edit of one's own facts says before it starts: what it edits, what is prepared first."""

from pathlib import Path

from modeledit.study.inventory import Inventory
from modeledit.study.layout import PREPARED


def opening_lines(study: Inventory) -> list[str]:
    """What will be edited, and a line for each preparation that is not there yet."""
    config, files = study.settings.config, study.files
    if config.facts is None or config.partial:
        return []
    facts, count = config.facts, config.trials.size
    title = study.settings.titles[facts.model]
    budget = f"at most {config.stop.extended} iterations"
    lines = [
        f"Editing {count} fact{'' if count == 1 else 's'} of {facts.path} in {title} with "
        f"{facts.method}, {budget}."
    ]
    missing = [
        f"  {what}"
        for path, what in _preparations(study)
        if not Path(path.format(model=facts.model)).exists()
    ]
    if missing:
        lines += ["Prepared first, once, and kept for other facts:", *missing]
    else:
        lines.append(f"All that {title} needs is prepared below {files.results} and resources.")
    return lines


def _preparations(study: Inventory) -> list[tuple[str, str]]:
    """What does not depend on the facts: a file of each preparation, and what it is."""
    settings, files = study.settings, study.files
    (run,) = settings.runs
    source = settings.config.covariance.source
    made = "a minute or two on a laptop" if source == "embedded" else f"from {source!r}"
    found = [
        (PREPARED, "a copy of the model"),
        (files.contexts, "prefixes that the model writes itself"),
        (files.panel, "which built-in facts the model knows, to see what else moves"),
    ]
    if settings.needs_covariance(run.method):
        taken = "or that of another study, if one has it"
        found.insert(1, (files.covariance, f"the covariance of its keys ({made}), {taken}"))
    return found
