"""Which tables and figures a study shows, by the runs that it has."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from modeledit.study.inventory import Inventory
from modeledit.study.layout import Run
from modeledit.study.methods import METHODS, Method, assisted_name


@dataclass(frozen=True)
class Contents:
    """Tables and figures of a study, by name: {dataset}.{table}, {dataset}.{model}.{method}.x,
    {model}.null_space."""

    inventory: Inventory

    @property
    def runs(self) -> tuple[Run, ...]:
        """All runs of the study, there or not; none where a partial study has none of them."""
        return self.inventory.settings.runs if self.inventory.has_runs() else ()

    def tables(self) -> list[str]:
        """Every table that the configured runs can fill."""
        methods: dict[str, set[Method]] = {}
        for run in self.runs:
            methods.setdefault(run.dataset, set()).add(METHODS[run.method])
        names = [f"{dataset}.{table}" for dataset in methods for table in _tables(methods[dataset])]
        sequences = self.inventory.reported_sequences()
        names += list(dict.fromkeys(f"{one.dataset}.sequence" for one in sequences))
        names += list(
            dict.fromkeys(f"{run.dataset}.behavior" for run in self.inventory.observed.runs())
        )
        files = self.inventory.files
        measured = files.iteration_files["hardware"]
        used = [files.overall("hardware.csv"), *self.inventory.reported_iterations(measured)]
        names += self.null_spaces()
        hardware = self.runs and self.inventory.at_hand(used)
        return [*names, *(["hardware"] if hardware else [])]

    def rows(self, dataset: str) -> list[tuple[str, str]]:
        """(model, method) of every run on a dataset."""
        runs = [run for run in self.runs if run.dataset == dataset]
        return list(dict.fromkeys((run.model, run.method) for run in runs))

    def studies(self) -> list[str]:
        """Figures of the number of neighbors, of the stages, and of AlphaEdit's key cache and L2,
        wherever they vary."""
        counted, alone = self._with(lambda m: m.n_neighbors > 1), self._with(_repeats_one)
        names = [*(f"{s}.neighbor_count" for s in counted), *(f"{s}.stages" for s in alone)]
        return names + [f"{place}.telescoping" for place in self._iterated_alphaedit()]

    def study(self, kind: str) -> list[str]:
        """Files of the figures and tables of one kind of study: "neighbor_count", "stages"."""
        files, ending = self.inventory.files, f".{kind}"
        figures = [files.figure(name) for name in self.studies() if name.endswith(ending)]
        tables = [files.table(name, "tex") for name in self.tables() if name.endswith(ending)]
        return figures + tables

    def figures(self) -> list[str]:
        """Every figure: of each dataset and model, method, algorithm, study and null space, of the
        sequences and the behavior of each model, and the schematic."""
        methods: dict[str, None] = {}
        algorithms: dict[str, None] = {}
        for run in self.inventory.reported_runs():
            requests = self.inventory.at_hand([self.inventory.requests_of(run)])
            if run.trial != 1 or not requests or not self.inventory.iterations(run):
                continue
            methods[f"{run.dataset}.{run.model}.{run.method}"] = None
            if not METHODS[run.method].probe:
                algorithms[_study(run)] = None
        names = [f"{place}.trajectories" for place in self._iterated()] + ["algorithms"]
        names += [
            f"{name}.{kind}" for name in methods for kind in ("perplexity_stages", "underedit")
        ]
        names += [f"{name}.qualitative" for name in algorithms]
        names += [*self.studies(), *self.null_spaces(), *self.sequences()]
        return [*names, *self.behavior()]

    def _iterated(self) -> list[str]:
        """{dataset}.{model} wherever a run that is reported has an iteration."""
        runs = [run for run in self.inventory.reported_runs() if self.inventory.iterations(run)]
        return list(dict.fromkeys(f"{run.dataset}.{run.model}" for run in runs))

    def null_spaces(self) -> list[str]:
        """A table and a figure for each model into whose null space some method writes."""
        files, settings = self.inventory.files, self.inventory.settings
        found = []
        for model in filter(settings.null_space_layers, settings.models):
            patterns = (files.null_space_summary, files.null_space_spectra)
            needed = [pattern.format(model=model) for pattern in patterns]
            if self.inventory.at_hand(needed) == needed:
                found.append(f"{model}.null_space")
        return found

    def small(self, model: str) -> list[str]:
        """The printed name of a model that must not be set against the paper's numbers."""
        described = self.inventory.settings.models[model]
        return [] if described.comparable else [described.title]

    def sequences(self) -> list[str]:
        """A figure for all sequences of a model on a dataset, in batches of one size."""
        names = [
            f"{one.dataset}.{one.model}.batches_of_{one.size}.sequence"
            for one in self.inventory.reported_sequences()
        ]
        return list(dict.fromkeys(names))

    def behavior(self) -> list[str]:
        """A figure for each model of which it was observed what it says on a dataset."""
        names = [f"{run.dataset}.{run.model}.behavior" for run in self.inventory.observed.runs()]
        return list(dict.fromkeys(names))

    def panel_neighbor(self, dataset: str, model: str, algorithm: str) -> str | None:
        """The neighbor-assisted method that the panel sets beside the plain one, or None."""
        found = self._first_trial(dataset, model)
        names = [assisted_name(algorithm, prefixed) for prefixed in (False, True)]
        return next((name for name in names if name in found), None)

    def panel_scores(self, dataset: str, model: str, algorithm: str) -> dict[str, list[str]]:
        """Scores of all iterations of the "plain" algorithm and of the "neighbor" method."""
        found = self._first_trial(dataset, model)
        chosen = {
            "plain": algorithm,
            "neighbor": self.panel_neighbor(dataset, model, algorithm),
        }
        scores = self.inventory.files.iteration_files["scores"]
        return {
            key: self.inventory.iterations_of(scores, dataset, model, method, 1)
            for key, method in chosen.items()
            if method in found
        }

    def iterated_alphaedit(self, dataset: str, model: str) -> list[str]:
        """The methods of a dataset and model that show what iterating AlphaEdit comes to."""
        found = (r.method for r in self.runs if (r.dataset, r.model) == (dataset, model))
        return list(dict.fromkeys(m for m in found if METHODS[m].parameters == "AlphaEdit"))

    def _iterated_alphaedit(self) -> list[str]:
        """{dataset}.{model} wherever its key cache or its L2 vary."""
        probed = [r for r in self.runs if METHODS[r.method].probe]
        places = [
            f"{r.dataset}.{r.model}"
            for r in probed
            if METHODS[r.method].parameters == "AlphaEdit" != METHODS[r.method].algorithm
        ]
        return list(dict.fromkeys(places))

    def _first_trial(self, dataset: str, model: str) -> set[str]:
        """Methods of trial 1, of the runs that are reported."""
        return {
            run.method
            for run in self.inventory.reported_runs()
            if (run.dataset, run.model, run.trial) == (dataset, model, 1)
        }

    def _with(self, chosen: Callable[[Method], bool]) -> list[str]:
        """{dataset}.{model}.{algorithm} wherever some method is one of the `chosen`."""
        found = [_study(run) for run in self.runs if chosen(METHODS[run.method])]
        return list(dict.fromkeys(found))


def _study(run: Run) -> str:
    return f"{run.dataset}.{run.model}.{METHODS[run.method].algorithm}"


def _repeats_one(method: Method) -> bool:
    return method.repeats != "both"


def _tables(methods: Iterable[Method]) -> list[str]:
    """The tables that runs of these methods fill."""
    used = set(methods)
    counts = {method.n_neighbors for method in used if not _repeats_one(method)}
    names = []
    if 0 in counts:
        names += ["iterative", "iterative_all", "stopping", "stopping_all"]
    if 1 in counts:
        names += ["neighbor", "neighbor_all"]
    if any(method.neighbor_prefixed for method in used):
        names += ["prefix", "prefix_all"]
    if max(counts, default=0) > 1:
        names += ["neighbor_count"]
    if any(_repeats_one(method) for method in used):
        names += ["stages"]
    return names
