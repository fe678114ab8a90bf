"""What a study consists of: which files its runs read and leave, and which jobs make them.

The workflow and the plan both ask here. Everything follows from the settings; a partial study takes
part as far as its files exist. Paths are those of `layout`; nothing is read.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from modeledit.study.config import ELIGIBLE, Settings
from modeledit.study.hyperparameters import Cut, Hyperparameters
from modeledit.study.layout import DOWNLOAD, MODEL, PREPARED, Layout, Run, Sequence
from modeledit.study.methods import METHODS
from modeledit.study.models import FolderSource, HubSource, ModelSource, WheelSource
from modeledit.study.published_files import Source
from modeledit.study.settings import Dataset

OF_BATCH = ("scores.parquet", "state.json", "norms.csv")  # what metrics of a batch are made of


def _exists(path: str) -> bool:
    return Path(path).exists()


class Kind(StrEnum):
    """What a job does, as a plan names it: its rule, but requests come from one of several."""

    DOWNLOAD = "download"
    PREPARE = "prepare_model"
    CONTEXTS = "make_contexts"
    CONVERT = "convert_covariance"
    GATHER = "gather_covariance"
    FACTORIZE = "factorize_covariance"
    NULL_SPACE = "find_null_spaces"
    REQUESTS = "requests"
    ELIGIBLE = "find_eligible"
    UNEDITED = "score_unedited"
    EVALUATE = "evaluate_run"


@dataclass(frozen=True)
class Job:
    """A job by the file that it leaves, and what of the study it belongs to, if to one part."""

    kind: Kind
    file: str
    model: str = ""
    dataset: str = ""
    trial: int = 0


@dataclass(frozen=True)
class EditFiles:
    """What single edits of a run are shown from."""

    metrics: str
    requests: str
    contexts: str
    unedited: str


@dataclass(frozen=True)
class Inventory:
    """The files and jobs of a study; `exists` says whether a path does."""

    settings: Settings
    project: str = ""  # in front of the paths of the project's own files, where it lies elsewhere
    exists: Callable[[str], bool] = field(default=_exists, repr=False)

    @property
    def files(self) -> Layout:
        """Where they lie."""
        return Layout(self.settings.config.name)

    # Runs and their iterations

    def at_hand(self, paths: Iterable[str]) -> list[str]:
        """Of `paths` those that exist, where a partial study takes what is there; else all."""
        partial = self.settings.config.partial
        return [path for path in paths if not partial or self.exists(path)]

    def last_iteration(self, dataset: str, model: str, method: str) -> int:
        """The last iteration that a run may have."""
        return self.settings.stop(dataset, model, method).extended

    def iterations(self, run: Run) -> list[int]:
        """Iterations of a run: all that it may have; of a partial study those that are there."""
        ks = range(1, self.last_iteration(run.dataset, run.model, run.method) + 1)
        if not self.settings.config.partial:
            return list(ks)
        scores = self.files.iteration_files["scores"]
        return [k for k in ks if self.at_hand([_of(scores, run, k=k)])]

    def reported_runs(self) -> list[Run]:
        """Runs that take part in tables, figures and report: of a partial study those of which
        scores or metrics are there. Where none is, metrics.csv must be, and is taken as it is."""
        return self._measured() or (list(self.settings.runs) if self.has_runs() else [])

    def has_runs(self) -> bool:
        """Whether the study has runs; no partial one that has sequences, and of no run anything."""
        return bool(self.settings.runs) and not (self._no_run() and self.reported_sequences())

    def nothing_to_show(self) -> bool:
        """Whether a partial study has neither metrics nor the scores of anything yet."""
        return self._no_run() and not self.reported_sequences()

    def _no_run(self) -> bool:
        """Whether a partial study has neither metrics nor the scores of any run yet."""
        return not self._measured() and not self.at_hand([self.files.overall("metrics.csv")])

    def _measured(self) -> list[Run]:
        """Runs with metrics, or with scores of an iteration and of the unedited model."""
        if not self.settings.config.partial:
            return list(self.settings.runs)
        return [
            run
            for run in self.settings.runs
            if self.at_hand([_of(self.files.run_metrics, run)])
            or (self.at_hand([_of(self.files.unedited_scores, run)]) and self.iterations(run))
        ]

    def reported(self, pattern: str) -> list[str]:
        """`pattern` for each run that is reported."""
        return [_of(pattern, run) for run in self.reported_runs()]

    def reported_iterations(self, pattern: str) -> list[str]:
        """`pattern` for all iterations of each run that is reported."""
        return self.at_hand(
            _of(pattern, run, k=k) for run in self.reported_runs() for k in self.iterations(run)
        )

    def iterations_of(
        self, pattern: str, dataset: str, model: str, method: str, trial: int
    ) -> list[str]:
        """`pattern` for all iterations of a run."""
        run = Run(dataset, model, method, trial)
        return [_of(pattern, run, k=k) for k in self.iterations(run)]

    def trials_of(self, pattern: str, dataset: str, model: str, method: str) -> list[str]:
        """`pattern` for all reported trials of a method, and their iterations if it has a {k}."""
        runs = [
            run
            for run in self.reported_runs()
            if (run.dataset, run.model, run.method) == (dataset, model, method)
        ]
        if "{k}" not in pattern:
            return [_of(pattern, run) for run in runs]
        return [_of(pattern, run, k=k) for run in runs for k in self.iterations(run)]

    # Requests and texts

    def requests(self, dataset: str, model: str, trial: int) -> str:
        """Requests of a trial: those that passed the model's neighbor filter, or all of them."""
        base = dataset.removesuffix(ELIGIBLE)
        place = {"dataset": base, "model": model, "trial": trial}
        if self.settings.authors_set(dataset, model):
            return f"{self.files.eligible}/authors.jsonl".format(**place)
        if base != dataset:
            return f"{self.files.eligible}/trial{{trial}}.jsonl".format(**place)
        return self.files.trial.format(**place)

    def requests_of(self, run: Run | Sequence) -> str:
        """Requests of a run's trial."""
        return self.requests(run.dataset, run.model, run.trial)

    def first_requests(self) -> list[str]:
        """The requests of all trials, as far as no model is needed to choose them."""
        found: dict[str, None] = {}
        for run in self.settings.chains:
            taken = self.settings.authors_set(run.dataset, run.model)
            dataset = run.dataset if taken else run.dataset.removesuffix(ELIGIBLE)
            found[self.requests(dataset, run.model, run.trial)] = None
        return list(found)

    def reported_chains(self) -> list[Run | Sequence]:
        """Runs and sequences that are reported."""
        return [*self.reported_runs(), *self.reported_sequences()]

    def reported_requests(self) -> list[str]:
        """Requests of all that is reported, each file once."""
        return self.at_hand(sorted({self.requests_of(one) for one in self.reported_chains()}))

    def dataset_file(self, dataset: str) -> str | list[str]:
        """The file of a dataset, or nothing where it is built in."""
        described = self.settings.config.datasets[dataset]
        if described.files and (name := self.settings.sources.whole(described.source)):
            return downloaded(name)
        return self.in_project(described.path) if described.path else []

    def published_datasets(self) -> list[str]:
        """The datasets whose trials the authors published."""
        datasets = self.settings.config.datasets
        return [name for name, described in datasets.items() if described.files == "authors"]

    def published_trial(self, dataset: str, trial: int) -> str:
        """The file of one of the authors' trials."""
        kind = self.settings.config.datasets[dataset].source
        return downloaded(self.settings.sources.trials(kind)[int(trial) - 1])

    def published_eligible(self, dataset: str, model: str) -> str | list[str]:
        """The file of the authors' eligible requests for a model."""
        name = self.settings.authors_set(dataset + ELIGIBLE, model)
        return downloaded(name) if name else []

    def perplexity_file(self) -> str | list[str]:
        """The published utterances of ME-PPL, or nothing where the excerpt gives them."""
        if self.settings.config.text.perplexity == "excerpt":
            return []
        return downloaded(self.settings.sources.perplexity)

    # Models and their statistics

    def source(self, model: str) -> ModelSource:
        """Where a model comes from, as its description says."""
        return self.settings.models[model].source

    def source_path(self, model: str) -> str | None:
        """What a model is prepared from: a pinned requirement file, a folder, or nothing (hub)."""
        source = self.source(model)
        if isinstance(source, WheelSource):
            return self.in_project(source.requirements)
        return self.in_project(source.path) if isinstance(source, FolderSource) else None

    def hyperparameters(self, model: str, method: str) -> Hyperparameters:
        """Hyperparameters of the method's algorithm for the model."""
        return self.settings.models[model].hyperparameters(METHODS[method].parameters)

    def context_sets(self, model: str) -> dict[str, tuple[tuple[int, int], ...]]:
        """{name: lengths} of the context templates that the model's methods need."""
        methods = [METHODS[run.method] for run in self.settings.chains if run.model == model]
        return {method.context_set: method.context_lengths for method in methods}

    def covariance_factors(self, model: str, method: str) -> str | list[str]:
        """The covariance's factors, or nothing for a method that writes without them."""
        needed = self.settings.needs_factors(method)
        return self.files.factors.format(model=model) if needed else []

    def null_spaces(self, model: str, method: str) -> str | list[str]:
        """The covariance's null spaces, or nothing for a method that does not write into them."""
        needed = METHODS[method].protects == "null_space"
        return self.files.null_spaces.format(model=model) if needed else []

    def cut(self, model: str) -> Cut:
        """Which directions are the model's null spaces, as its hyperparameters of AlphaEdit say."""
        found = self.settings.models[model].algorithms.AlphaEdit
        if found is None:
            raise KeyError(f"{model} has no hyperparameters of AlphaEdit")
        return found.null_space

    def every_factor(self) -> list[str]:
        """What is made of every model's covariance: factors, null spaces, as its methods need."""
        settings, files = self.settings, self.files
        patterns = {files.factors: settings.factor_layers} | {
            files.null_spaces: settings.null_space_layers
        }
        return [
            pattern.format(model=model)
            for pattern, layers in patterns.items()
            for model in settings.models
            if layers(model)
        ]

    def covariance_texts(self) -> list[str]:
        """The texts behind the covariance: the excerpt's articles, or parts of a dump."""
        kind, sources = self.settings.config.covariance.source, self.settings.sources
        if kind == "embedded":
            return [self.files.covariance_texts]
        one = kind == "fast"
        shards = [sources.one_shard(self.settings.config.seed)] if one else sources.shards()
        return [downloaded(shard.name) for shard in shards]

    def published_covariances(self, model: str) -> list[str]:
        """The authors' files of the covariances of all edited layers of a model, in order."""
        sources, layers = self.settings.sources, self.settings.layers(model)
        return [downloaded(sources.statistics(model, layer).name) for layer in layers]

    def covariance_recipe(self, model: str) -> dict[str, str]:
        """What a covariance is made of, as its file says it; the model's digest is added."""
        config, sources = self.settings.config, self.settings.sources
        recipe, text = config.covariance, config.text
        dump, articles, length = sources.wikipedia_provenance, str(recipe.articles), recipe.length
        if recipe.source == "embedded":
            dump, length = "gensim-excerpt", text.covariance_length
            articles = str(text.covariance_articles)
        elif recipe.source == "fast":
            articles = "few"
        elif recipe.source == "authors":
            dump, length = sources.statistics_provenance, None
        source = self.source(model)
        return {
            "source": recipe.source,
            "dump": dump,
            "articles": articles,
            "max_length": str(length or "context"),
            "seed": "1" if recipe.source == "authors" else str(config.seed),
            "dtype": "float32" if recipe.source == "authors" else "float64",
            "layers": " ".join(str(layer) for layer in self.settings.layers(model)),
            "revision": source.revision if isinstance(source, HubSource) else "",
        } | ({} if recipe.tolerance is None else {"tolerance": str(recipe.tolerance)})

    def own_answers(self, dataset: str, model: str, trial: int) -> str | list[str]:
        """The unedited scores where specificity is judged on the model's own answers."""
        if self.settings.switches.specificity_gt == "dataset":
            return []
        place = {"dataset": dataset, "model": model, "trial": trial}
        return self.files.unedited_scores.format(**place)

    def prepared_models(self) -> list[str]:
        """Folders of the models of all that is reported; none that is there in part."""
        models = sorted({one.model for one in self.reported_chains()})
        whole = [model for model in models if self.at_hand([PREPARED.format(model=model)])]
        return [MODEL.format(model=model) for model in whole]

    def in_project(self, path: str) -> str:
        """A path of the configuration, which is relative to the project or absolute."""
        return path if Path(path).is_absolute() else self.project + path

    # Published files

    def downloads(self) -> Mapping[str, Source]:
        """Every published file that this configuration could ask for, by name."""
        sources, named = self.settings.sources, []
        if self.settings.config.covariance.source == "authors":
            named = [
                sources.statistics(model, layer)
                for model in self.settings.models
                for layer in self.settings.layers(model)
            ]
        elif self.settings.config.covariance.source in ("fast", "recompute"):
            named = sources.shards()
        return sources.files | {source.name: source for source in named}

    def needed_downloads(self) -> list[str]:
        """Names of the published files that the runs need, each once."""
        config, sources = self.settings.config, self.settings.sources
        names: dict[str, None] = {}
        for run in self.settings.chains:
            described = config.datasets[run.dataset.removesuffix(ELIGIBLE)]
            for name in self._published_requests(run, described):
                names[name] = None
        if config.text.perplexity == "authors":
            names[sources.perplexity] = None
        for model in self.settings.models:
            if self.settings.layers(model):
                for path in self._covariance_files(model):
                    names[path.removeprefix(downloaded(""))] = None
        return list(names)

    def _published_requests(self, run: Run | Sequence, described: Dataset) -> Iterator[str]:
        sources = self.settings.sources
        if taken := self.settings.authors_set(run.dataset, run.model):
            yield taken
        elif described.files == "authors":
            yield sources.trials(described.source)[run.trial - 1]
        elif described.files == "whole" and (name := sources.whole(described.source)):
            yield name

    def _covariance_files(self, model: str) -> list[str]:
        source = self.settings.config.covariance.source
        if source == "authors":
            return self.published_covariances(model)
        return [] if source == "embedded" else self.covariance_texts()

    # Jobs

    def jobs(self) -> list[Job]:
        """Every job but the edits and what draws the paper, by the file that it leaves."""
        files = self.files
        found = [Job(Kind.DOWNLOAD, downloaded(name)) for name in self.needed_downloads()]
        for model in self.settings.models:
            found.append(Job(Kind.PREPARE, MODEL.format(model=model), model))
            found.append(Job(Kind.CONTEXTS, files.contexts.format(model=model), model))
        published = self.settings.config.covariance.source == "authors"
        covariance = Kind.CONVERT if published else Kind.GATHER
        for model in filter(self.settings.layers, self.settings.models):
            found.append(Job(covariance, files.covariance.format(model=model), model))
            if self.settings.factor_layers(model):
                found.append(Job(Kind.FACTORIZE, files.factors.format(model=model), model))
            if self.settings.null_space_layers(model):
                found.append(Job(Kind.NULL_SPACE, files.null_spaces.format(model=model), model))
        found += [Job(Kind.REQUESTS, path) for path in self.first_requests()]
        for run in self.settings.chains:
            part = (run.model, run.dataset, run.trial)
            filtered = run.dataset.endswith(ELIGIBLE)
            if filtered and not self.settings.authors_set(run.dataset, run.model):
                found.append(Job(Kind.ELIGIBLE, self.requests_of(run), *part))
            found.append(Job(Kind.UNEDITED, _of(files.unedited_scores, run), *part))
            if isinstance(run, Run):
                found.append(Job(Kind.EVALUATE, _of(files.run_metrics, run), *part))
        return list(dict.fromkeys(found))

    # Sequences of batches

    def batch_iterations(self, sequence: Sequence) -> list[int]:
        """Iterations that a batch of a sequence may have."""
        return list(range(1, self.settings.stop_of_batch(sequence).extended + 1))

    def sequence(self, **names: str) -> Sequence:
        """The sequence of these names, as wildcards give them: all but size and trial as text."""
        for found in self.settings.sequences:
            if {name: str(value) for name, value in found.key._asdict().items()} == names:
                return found
        raise KeyError(f"no sequence {names}")

    def of_sequences(self, pattern: str) -> list[str]:
        """`pattern` for each sequence that is reported."""
        return [pattern.format(**one.key._asdict()) for one in self.reported_sequences()]

    def batches(self, sequence: Sequence) -> list[int]:
        """Batches of a sequence: all of them; of a partial study those whose scores, states and
        norms are there, or all where none is."""
        every = range(1, sequence.count + 1)
        names = sequence.key._asdict()
        found = [
            b
            for b in every
            if len(self.at_hand(self.files.batch(f).format(**names, batch=b) for f in OF_BATCH))
            == len(OF_BATCH)
        ]
        return found or list(every)

    def reported_sequences(self) -> list[Sequence]:
        """Sequences that take part in tables, figures and report: of a partial study those of which
        metrics, or requests and the scores of the unedited model and of a batch, are there."""

        def there(sequence: Sequence) -> bool:
            names = sequence.key._asdict()
            sources = [self.requests_of(sequence), _of(self.files.unedited_scores, sequence)]
            first = self.batches(sequence)[0]
            sources += [self.files.batch(f).format(**names, batch=first) for f in OF_BATCH]
            metrics = [
                self.files.sequence(f).format(**names)
                for f in ("metrics.csv", "request_metrics.parquet")
            ]
            return any(len(self.at_hand(paths)) == len(paths) for paths in (metrics, sources))

        return [one for one in self.settings.sequences if there(one)]

    def of_batches(self, pattern: str, sequence: Sequence) -> list[str]:
        """`pattern` for each batch of a sequence, in order."""
        names = sequence.key._asdict()
        return [pattern.format(**names, batch=b) for b in range(1, sequence.count + 1)]

    def of_every_batch(self, pattern: str) -> list[str]:
        """`pattern` for each batch of all sequences."""
        return [path for one in self.settings.sequences for path in self.of_batches(pattern, one)]

    def every_kept_matrix(self) -> list[str]:
        """Edited matrices that stay of all sequences."""
        found, pattern = [], self.files.batch("edited.safetensors")
        for sequence in self.settings.sequences:
            every = self.of_batches(pattern, sequence)
            found += every if sequence.keep == "all" else every[-1:]
        return found

    def states(self, run: Run) -> list[str]:
        """The states that a run's iterations leave, in order."""
        state = self.files.iteration_files["state"]
        last = self.last_iteration(run.dataset, run.model, run.method)
        return [_of(state, run, k=k) for k in range(1, last + 1)]

    # Single edits

    def single_edits(self) -> list[EditFiles]:
        """Files of each run of which single edits can be shown, in the order of the runs."""
        found = []
        for run in self.reported_runs():
            edits = EditFiles(
                _of(self.files.request_metrics, run),
                self.requests_of(run),
                _of(self.files.contexts, run),
                _of(self.files.unedited_scores, run),
            )
            sources = (edits.requests, edits.contexts, edits.unedited)
            if len(self.at_hand(sources)) == len(sources) and self.iterations(run):
                found.append(edits)
        return found


def downloaded(name: str) -> str:
    """Where a published file lies once it was fetched."""
    return DOWNLOAD.format(file=name)


def _of(pattern: str, run: Run | Sequence, **more: int) -> str:
    """`pattern` filled in for a run."""
    return pattern.format(**vars(run), **more)
