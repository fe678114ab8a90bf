"""Where everything of a study lies, and what a path says."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

# With Snakemake's wildcards, below results/{name}/ and logs/{name}/. Nothing else builds or reads
# these names.
RUN = "{dataset}/{model}/{method}/trial{trial}"
ITERATION = RUN + "/iter{k}"
SEQUENCE = "sequences/batches_of_{size}/" + RUN
BATCH = SEQUENCE + "/batch{batch}"
BATCH_ITERATION = BATCH + "/iter{k}"
MODEL = "resources/models/{model}"
PREPARED = MODEL + "/prepared.json"  # the last file of a model's folder to be there
ACCESS = "resources/access/{model}.txt"
DOWNLOAD = "resources/downloads/{file}"
DATASET_OF_FACTS = "facts"  # the name that facts of one's own have among the datasets


class RunKey(NamedTuple):
    """Names of a run, as in metrics.csv."""

    dataset: str
    model: str
    method: str
    trial: int

    def __str__(self) -> str:
        """Its folder below results/{name}/."""
        return RUN.format(**self._asdict())

    @classmethod
    def of(cls, path: Path) -> "RunKey":
        """The run that a folder `RUN`, or anything below it, belongs to; ValueError if to none."""
        for folder in (path, *path.parents):
            found = re.fullmatch(r"trial(\d+)", folder.name)
            names = folder.parts[-4:-1]
            if found and len(names) == 3:
                return cls(*names, int(found[1]))
        raise ValueError(f"{path}: the path must hold <dataset>/<model>/<method>/trial<t>")


@dataclass(frozen=True)
class Run:
    """One chain of iterations: dataset x model x method x trial.

    `iterations` is the length that its block of the configuration gives it; None leaves it to
    `stop`.
    """

    dataset: str
    model: str
    method: str
    trial: int
    iterations: int | None = None

    @property
    def key(self) -> RunKey:
        """Its names."""
        return RunKey(self.dataset, self.model, self.method, self.trial)


class SequenceKey(NamedTuple):
    """Names of a sequence of batches, as in sequences.csv."""

    dataset: str
    model: str
    method: str
    trial: int
    size: int

    def __str__(self) -> str:
        """Its folder below results/{name}/."""
        return SEQUENCE.format(**self._asdict())

    @classmethod
    def of(cls, path: Path) -> "SequenceKey":
        """The sequence that a folder `SEQUENCE`, or anything below it, belongs to; ValueError if
        to none."""
        for folder in path.parents:
            if found := re.fullmatch(r"batches_of_(\d+)", folder.name):
                return cls(*RunKey.of(path), int(found[1]))
        raise ValueError(f"{path}: the path must hold batches_of_<size>")


@dataclass(frozen=True)
class Sequence:
    """One chain of batches: dataset x model x method x trial x size of a batch.

    `keep` says whose edited matrices stay: "last" or "all". `iterations` as of a `Run`.
    """

    dataset: str
    model: str
    method: str
    trial: int
    size: int
    count: int
    keep: str = "last"
    iterations: int | None = None

    @property
    def key(self) -> SequenceKey:
        """Its names."""
        return SequenceKey(self.dataset, self.model, self.method, self.trial, self.size)


def filled(pattern: str, run: Run | Sequence, **more: int) -> str:
    """`pattern` filled in for a run."""
    return pattern.format(**vars(run), **more)


def iteration_of(path: Path) -> tuple[RunKey, int]:
    """The run and the k of a folder `ITERATION`, or of anything in it; else ValueError."""
    for folder in (path, *path.parents):
        if found := re.fullmatch(r"iter(\d+)", folder.name):
            return RunKey.of(folder.parent), int(found[1])
    raise ValueError(f"{path}: the path must hold <dataset>/<model>/<method>/trial<t>/iter<k>")


def iteration_folder(run: Path, k: int) -> Path:
    """Folder of iteration k of the run whose folder is `run`."""
    return run / f"iter{k}"


@dataclass(frozen=True)
class IterationFiles:
    """What an iteration leaves in its folder: its state, matrices, keys, logs and raw scores."""

    state: Path
    edited: Path
    targets: Path
    key_cache: Path
    edits: Path
    scores: Path  # not there in a sequence, where a whole batch is scored
    hardware: Path

    @classmethod
    def below(cls, folder: Path | str) -> "IterationFiles":
        """Those of an iteration's folder."""
        return cls(**{name: Path(folder) / file for name, file in _ITERATION_FILES.items()})

    @classmethod
    def of(cls, run: Path, k: int) -> "IterationFiles":
        """Those of iteration k of the run whose folder is `run`."""
        return cls.below(iteration_folder(run, k))


_ITERATION_FILES = {
    "state": "state.json",
    "edited": "edited.safetensors",
    "targets": "targets.safetensors",
    "key_cache": "keys.safetensors",
    "edits": "edits.parquet",
    "scores": "scores.parquet",
    "hardware": "hardware.json",
}


# What an iteration of a batch leaves: it is scored when the batch has ended.
BATCH_ITERATION_FILES = ("state", "edited", "targets", "edits", "key_cache", "hardware")


@dataclass(frozen=True)
class Layout:
    """Where the files of the study `name` lie: patterns with Snakemake's wildcards."""

    name: str

    @property
    def results(self) -> str:
        """Folder of everything that a study makes for itself."""
        return f"results/{self.name}"

    @property
    def logs(self) -> str:
        """Folder of its logs."""
        return f"logs/{self.name}"

    @property
    def run(self) -> str:
        """Folder of a run."""
        return f"{self.results}/{RUN}"

    @property
    def iteration(self) -> str:
        """Folder of an iteration."""
        return f"{self.results}/{ITERATION}"

    @property
    def iteration_files(self) -> dict[str, str]:
        """What an iteration leaves, by name."""
        return {name: f"{self.iteration}/{file}" for name, file in _ITERATION_FILES.items()}

    @property
    def batch_iteration_files(self) -> dict[str, str]:
        """What an iteration of a batch leaves, by name."""
        folder = f"{self.results}/{BATCH_ITERATION}"
        return {name: f"{folder}/{_ITERATION_FILES[name]}" for name in BATCH_ITERATION_FILES}

    def batch(self, file: str) -> str:
        """A file about a whole batch of a sequence, once it has ended."""
        return f"{self.results}/{BATCH}/{file}"

    def sequence(self, file: str) -> str:
        """A file about a sequence of batches."""
        return f"{self.results}/{SEQUENCE}/{file}"

    @property
    def dataset_requests(self) -> str:
        """All requests of a dataset."""
        return f"{self.results}/{{dataset}}/requests.jsonl"

    @property
    def trial(self) -> str:
        """Requests of a trial, whatever the model knows."""
        return f"{self.results}/{{dataset}}/trials/trial{{trial}}.jsonl"

    @property
    def eligible(self) -> str:
        """Folder of the requests that passed a model's neighbor filter."""
        return f"{self.results}/{{dataset}}/{{model}}/eligible"

    @property
    def texts(self) -> str:
        """Folder of the texts of the covariance and of ME-PPL."""
        return f"{self.results}/text"

    @property
    def perplexity_texts(self) -> str:
        """Texts of ME-PPL."""
        return f"{self.texts}/perplexity.jsonl"

    @property
    def covariance_texts(self) -> str:
        """Texts of the embedded covariance."""
        return f"{self.texts}/covariance.jsonl"

    @property
    def statistics(self) -> str:
        """Folder of what every run of a model shares."""
        return f"{self.results}/statistics/{{model}}"

    @property
    def contexts(self) -> str:
        """Context templates."""
        return f"{self.statistics}/contexts.json"

    @property
    def covariance(self) -> str:
        """Covariance of the keys of all edited layers."""
        return f"{self.statistics}/covariance.safetensors"

    @property
    def factors(self) -> str:
        """Cholesky factors of it."""
        return f"{self.statistics}/factors.safetensors"

    @property
    def null_spaces(self) -> str:
        """Null spaces of the covariance."""
        return f"{self.statistics}/null_spaces.safetensors"

    @property
    def null_space_summary(self) -> str:
        """Of each of them its rank, its cut and what leaks."""
        return f"{self.statistics}/null_spaces.csv"

    @property
    def null_space_spectra(self) -> str:
        """All eigenvalues of the covariances that they were made of."""
        return f"{self.statistics}/null_spaces.parquet"

    @property
    def unedited(self) -> str:
        """Folder of the unedited model's scores on a trial."""
        return f"{self.results}/{{dataset}}/{{model}}/unedited/trial{{trial}}"

    @property
    def unedited_scores(self) -> str:
        """The unedited model's raw scores on a trial."""
        return f"{self.unedited}/scores.parquet"

    @property
    def panel(self) -> str:
        """Facts that a model knows, which edits of other facts should leave alone."""
        return f"{self.statistics}/panel.parquet"

    def observed(self, file: str) -> str:
        """What a part of `evaluation` leaves of an edited state."""
        return f"{self.iteration}/{file}"

    def unedited_observed(self, file: str) -> str:
        """The same of the unedited model, on a trial."""
        return f"{self.unedited}/{file}"

    @property
    def probes(self) -> str:
        """The probes of a trial's requests."""
        return f"{self.results}/{{dataset}}/{{model}}/probes/trial{{trial}}.jsonl"

    def behavior(self, file: str) -> str:
        """A file about what a run's model does."""
        return f"{self.run}/{file}"

    @property
    def run_metrics(self) -> str:
        """Metrics of a run by iteration."""
        return f"{self.run}/metrics.csv"

    @property
    def request_metrics(self) -> str:
        """Metrics of each request of a run by iteration."""
        return f"{self.run}/request_metrics.parquet"

    def overall(self, file: str) -> str:
        """A file about all runs."""
        return f"{self.results}/{file}"

    def table(self, name: str, form: str) -> str:
        """A table in one of its forms: tex, csv, html, md."""
        return f"{self.results}/tables/{name}.{form}"

    def figure(self, name: str, form: str = "png") -> str:
        """A figure in one of its forms: png, pdf, json."""
        return f"{self.results}/figures/{name}.{form}"

    def log(self, name: str) -> str:
        """A job's log."""
        return f"{self.logs}/{name}.log"

    def benchmark(self, name: str) -> str:
        """Snakemake's measurement of a job."""
        return f"{self.logs}/{name}.benchmark.tsv"
