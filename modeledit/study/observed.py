"""Of which runs it is observed what their states do, and from which files that is measured."""

from dataclasses import dataclass
from pathlib import Path

from modeledit.study.inventory import Inventory
from modeledit.study.layout import Run
from modeledit.study.observation import PARTS


@dataclass(frozen=True)
class ObservedRuns:
    """What the block `evaluation` leaves; a partial study takes part as far as it is there."""

    inventory: Inventory

    def runs(self) -> list[Run]:
        """Runs of whose states something is observed; of a partial study those of which the values,
        or what these are made of, are there."""
        if not any(map(self.inventory.observes, PARTS)):
            return []
        return [run for run in self.inventory.reported_runs() if self._is_there(run)]

    def files(self, run: Run) -> dict[str, str]:
        """Raw files of a run's states, as {state}_{name of the file}."""
        files, names = self.inventory.files, vars(run)
        first, last = self.inventory.first_and_last(run)
        found: dict[str, str] = {}
        for file in filter(self.inventory.observes, PARTS):
            places = {
                "first": files.observed(file).format(**names, k=first),
                "stop": files.observed(file).format(**names, k=last),
            }
            if file != "drift.parquet":  # which compares the two models itself
                places["unedited"] = files.unedited_observed(file).format(**names)
            found |= {f"{state}_{Path(file).stem}": path for state, path in places.items()}
        return {name: path for name, path in found.items() if self.inventory.at_hand([path])}

    def last_state(self, run: Run) -> str:
        """The state of a run's last iteration, which says who holds the stop."""
        _, last = self.inventory.first_and_last(run)
        return self.inventory.files.iteration_files["state"].format(**vars(run), k=last)

    def _is_there(self, run: Run) -> bool:
        """Whether values of a run's behavior are there, or can be made."""
        files, names = self.inventory.files, vars(run)
        if self.inventory.at_hand([files.behavior("behavior.parquet").format(**names)]):
            return True
        needed = [self.inventory.requests_of(run), files.unedited_scores.format(**names)]
        needed += [files.iteration_files["scores"].format(**names, k=1), self.last_state(run)]
        if self.inventory.observes("probes.parquet"):
            needed.append(files.probes.format(**names))
        whole = len(self.inventory.at_hand(needed)) == len(needed)
        return whole and bool(self.files(run))
