"""What is observed of the states of a study besides their scores: files, runs and jobs.

The unedited model, the first iteration and the stop of a run are observed, in the parts that the
block `evaluation` asks for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modeledit.study.checks import ELIGIBLE
from modeledit.study.jobs import Kind
from modeledit.study.layout import Run, filled
from modeledit.study.observation import PARTS

if TYPE_CHECKING:
    from modeledit.study.inventory import Inventory

VALUES = "behavior.parquet"
# Which job leaves a file about a state.
OBSERVERS = {
    "generations.parquet": Kind.CONTINUE,
    "fluency.parquet": Kind.TELL,
    "probes.parquet": Kind.ASK,
    "drift.parquet": Kind.DRIFT,
}


@dataclass(frozen=True)
class Observed:
    """The part of a study's inventory that is about what is observed."""

    study: "Inventory"

    def asks(self, file: str) -> bool:
        """Whether a part of `evaluation` leaves this file of a state."""
        return PARTS[file] in self.study.settings.config.evaluation.parts

    def iterations(self, run: Run) -> tuple[int, int]:
        """The iterations of a run that are observed: the first, and the last that it may have,
        which stands for the stop."""
        return 1, self.study.last_iteration(run.dataset, run.model, run.method)

    def probe_file(self, dataset: str) -> str | list[str]:
        """The file of a dataset's probes, or nothing where they are built in."""
        found = self.study.settings.config.evaluation.probes
        described = found.files.get(dataset.removesuffix(ELIGIBLE)) if found else None
        return self.study.in_project(described.path) if described else []

    def files(self, run: Run) -> dict[str, str]:
        """Raw files of what was observed of a run's states, as {state}_{name of the file}."""
        layout, (first, last) = self.study.files, self.iterations(run)
        found: dict[str, str] = {}
        for file in filter(self.asks, PARTS):
            places = {
                "first": filled(layout.observed(file), run, k=first),
                "stop": filled(layout.observed(file), run, k=last),
            }
            if file != "drift.parquet":  # which compares the two models itself
                places["unedited"] = filled(layout.unedited_observed(file), run)
            found |= {f"{state}_{Path(file).stem}": path for state, path in places.items()}
        return {name: path for name, path in found.items() if self.study.at_hand([path])}

    def last_state(self, run: Run) -> str:
        """The state of a run's last iteration, which says who holds the stop."""
        _, last = self.iterations(run)
        return filled(self.study.files.iteration_files["state"], run, k=last)

    def runs(self) -> list[Run]:
        """Runs of whose states something is observed; of a partial study those of which the values,
        or what these are made of, are there."""
        return [run for run in self.study.reported_runs() if self._is_there(run)]

    def _is_there(self, run: Run) -> bool:
        """Whether values of a run's behavior are there, or can be made."""
        layout, at_hand = self.study.files, self.study.at_hand
        if not any(map(self.asks, PARTS)):
            return False
        if at_hand([filled(layout.behavior(VALUES), run)]):
            return True
        needed = [self.study.requests_of(run), filled(layout.unedited_scores, run)]
        needed += [filled(layout.iteration_files["scores"], run, k=1), self.last_state(run)]
        if self.asks("probes.parquet"):
            needed.append(filled(layout.probes, run))
        return len(at_hand(needed)) == len(needed) and bool(self.files(run))

    def jobs(self, run: Run) -> Iterator[tuple[Kind, str]]:
        """What observes the states of a run, by the file that it leaves."""
        layout = self.study.files
        if not any(map(self.asks, PARTS)):
            return
        if self.asks("probes.parquet"):
            yield Kind.PROBES, filled(layout.probes, run)
        for file, kind in OBSERVERS.items():
            if not self.asks(file):
                continue
            if kind is not Kind.DRIFT:
                yield kind, filled(layout.unedited_observed(file), run)
            for k in sorted(set(self.iterations(run))):
                yield kind, filled(layout.observed(file), run, k=k)
        yield Kind.BEHAVIOR, filled(layout.behavior(VALUES), run)
