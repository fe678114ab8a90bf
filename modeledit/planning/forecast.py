"""What the jobs of a run are likely to take, before anything is measured.

Seconds are those of a made-up machine, so that only their ratios mean something:
`modeledit.progress` scales them by what jobs took.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from modeledit.io.files import FileError
from modeledit.io.state import read_state
from modeledit.planning import costs
from modeledit.planning.edits import earlier_keys, edit_of, steps
from modeledit.planning.plan import work_of
from modeledit.study.config import Settings
from modeledit.study.jobs import Job, Kind
from modeledit.study.layout import Layout
from modeledit.study.settings import Stop

NOMINAL = costs.Speed("a machine", 1e11, 1e11, 5e10, 5e-6)
LIGHT = 3.0  # seconds of a job without a model: an interpreter with pandas or matplotlib
PASSING = 1.5  # of an iteration that only passes the stop on
EDITS = ("edit", "edit_batch")
Names = Mapping[str, str]
"""The wildcards of a job: dataset, model, method, trial, k, and of a batch size and batch."""


@dataclass(frozen=True)
class Forecast:
    """The jobs of a study by rule and wildcards: seconds, and stops that files tell of."""

    settings: Settings

    def computes(self, rule: str) -> bool:
        """Whether a job runs a model, or takes its matrices apart."""
        return rule in EDITS or rule == "score_batch" or self._kind(rule) in _COMPUTING

    def seconds(self, rule: str, names: Names) -> float:
        """Seconds of a job, as if it edits where it is an iteration."""
        if rule in EDITS:
            return self._edit(names)
        if rule == "score_batch":
            return self._scores(names)
        kind = self._kind(rule)
        if kind not in _COMPUTING:
            return LIGHT
        dataset, model, trial = names.get("dataset", ""), names["model"], int(names.get("trial", 0))
        job = Job(kind, "", model, dataset, trial)
        requests = self.settings.most_requests(dataset, model) if dataset else 0
        work = work_of(self.settings, job, {(dataset, model, trial): requests})
        return work.seconds(NOMINAL) if work else LIGHT

    def usual(self, names: Names) -> int:
        """After how many iterations a chain stops where no other has."""
        return self._stop(names).iterations

    def stop_before(self, names: Names) -> int | None:
        """The iteration that a chain stopped with, if it did before the one that `names` say."""
        k = int(names["k"]) - 1
        files = Layout(self.settings.config.name)
        patterns = files.batch_iteration_files if "batch" in names else files.iteration_files
        path = Path(patterns["state"].format(**{**names, "k": k}))
        if not k or not path.exists():
            return None
        try:
            state = read_state(path)
        except FileError:  # the job that needs it says so
            return None
        return state.held_by if state.stopped else None

    def _edit(self, names: Names) -> float:
        dataset, model, method = names["dataset"], names["model"], names["method"]
        k, batch = int(names["k"]), "batch" in names
        edit = edit_of(self.settings, dataset, model, method)
        made = steps(edit.hyper, method, k)
        if batch:
            size, before = int(names["size"]), int(names["batch"]) - 1
            wrote = before * self.usual(names) + k - 1
            kept = earlier_keys(self.settings, method, size, before, wrote)
            return edit.iteration(size, made, kept).seconds(NOMINAL)
        requests = self.settings.most_requests(dataset, model)
        kept = earlier_keys(self.settings, method, requests, 0, k - 1)
        return edit.job(requests, made, kept).seconds(NOMINAL)

    def _scores(self, names: Names) -> float:
        edit = edit_of(self.settings, names["dataset"], names["model"], names["method"])
        requests = int(names["batch"]) * int(names["size"])
        work = costs.scoring(edit.model, edit.shape, requests, edit.texts, edit.token_budget)
        return work.seconds(NOMINAL)

    def _stop(self, names: Names) -> Stop:
        if "batch" not in names:
            return self.settings.stop(names["dataset"], names["model"], names["method"])
        key = tuple(names[name] for name in ("dataset", "model", "method", "trial", "size"))
        return self._stops_of_batches[key]

    @cached_property
    def _stops_of_batches(self) -> dict[tuple[str, ...], Stop]:
        return {
            tuple(map(str, sequence.key)): self.settings.stop_of_batch(sequence)
            for sequence in self.settings.sequences
        }

    @staticmethod
    def _kind(rule: str) -> Kind | None:
        """The kind of a rule's jobs as the plan counts them; the unedited model is as any."""
        name = rule.removesuffix("_unedited") if rule != Kind.UNEDITED else rule
        return Kind(name) if name in set(Kind) else None


_COMPUTING = {
    *(Kind.CONTEXTS, Kind.GATHER, Kind.FACTORIZE, Kind.NULL_SPACE, Kind.ELIGIBLE, Kind.UNEDITED),
    *(Kind.CONTINUE, Kind.TELL, Kind.ASK, Kind.DRIFT),
}
