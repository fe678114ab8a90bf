"""A configuration, checked whole before anything runs.

Schemas say what a single value may be; the checks here say what must fit together: methods and
models that exist, layers that the model has, trials that the data can fill. All problems are
reported at once, each with the key, the value and what is allowed. No torch is imported, and no
file that is still to be downloaded is read: config/sources.yaml says how much is in it.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from modeledit.study.layout import Run
from modeledit.study.methods import METHODS, NAMES
from modeledit.study.published_files import Sources

ELIGIBLE = "-eligible"  # suffix of a dataset whose requests passed the neighbor filter
GEOGRAPHY_REQUESTS = 2434  # that the built-in facts give, whatever the seed; known without them
FAST_TOKENS = 10  # for each row of the key in a "fast" covariance: enough to be inverted, no more


class ConfigError(ValueError):
    """Everything that is wrong with a configuration, in one message."""


@dataclass(frozen=True)
class Settings:
    """A checked configuration: the merged values, the resolved switches, the models, the runs."""

    config: dict
    switches: dict
    models: dict[str, dict]
    runs: tuple[Run, ...]
    sources: Sources

    def trials(self, dataset: str, model: str, method: str) -> int:
        """How many trials of a method are run."""
        return sum((r.dataset, r.model, r.method) == (dataset, model, method) for r in self.runs)

    def stop(self, dataset: str, model: str, method: str) -> dict:
        """The stop rule of a method's runs; its block's `iterations` stand for both budgets."""
        for r in self.runs:
            if (r.dataset, r.model, r.method) == (dataset, model, method) and r.iterations:
                return self.config["stop"] | {"iterations": r.iterations, "extended": r.iterations}
        return self.config["stop"]

    def authors_set(self, dataset: str, model: str) -> str | None:
        """The file that holds the authors' eligible requests for `model`, or None: we filter."""
        base = dataset.removesuffix(ELIGIBLE)
        if base == dataset or self.config["datasets"][base]["source"] != "counterfact":
            return None
        size = self.config["eligible"].get("authors", {}).get(model)
        return None if size is None else self.sources.eligible[size]

    def most_requests(self, dataset: str, model: str) -> int:
        """How many requests a trial may have."""
        if not (name := self.authors_set(dataset, model)):
            return self.config["trials"]["size"]
        held = self.sources.records(name)
        return min(self.config["eligible"].get("size", held), held)

    def needs_covariance(self, method: str) -> bool:
        """Whether a method's write uses C: all do but ROME without it (I9)."""
        return METHODS[method].write == "spread" or self.switches["rome_covariance"]

    def layers(self, model: str) -> list[int]:
        """All layers of `model` whose covariance some method of this configuration needs."""
        algorithms = {
            METHODS[run.method].algorithm
            for run in self.runs
            if run.model == model and self.needs_covariance(run.method)
        }
        return sorted(
            {i for a in algorithms for i in self.models[model]["algorithms"][a]["layers"]}
        )


def _say(error: ValidationError, where: str) -> str:
    key = ".".join(str(part) for part in error.absolute_path) or "(top level)"
    value = error.instance
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema.get("properties", {}))
        unknown = sorted(set(value) - set(allowed))
        return f"{where}: {key}: unknown key {', '.join(unknown)}; allowed: {', '.join(allowed)}"
    if error.validator == "required":
        missing = sorted(set(error.validator_value) - set(value))
        return f"{where}: {key}: missing {', '.join(missing)}"
    if error.validator == "maxProperties":
        return f"{where}: {key}: source {value['source']} takes no further key; keep source alone"
    if error.validator == "enum":
        allowed = ", ".join(str(v) for v in error.validator_value)
        return f"{where}: {key} = {value!r}: allowed: {allowed}"
    words = {
        "minimum": "at least",
        "maximum": "at most",
        "exclusiveMinimum": "greater than",
        "type": "of type",
        "pattern": "matching",
    }
    if error.validator in words:
        return (
            f"{where}: {key} = {value!r}: must be {words[error.validator]} {error.validator_value}"
        )
    return f"{where}: {key}: {error.message}"


# JSON counts 3.0 as an integer; the workflow does not.
_TYPES = Draft202012Validator.TYPE_CHECKER.redefine(
    "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
)
_Validator = extend(Draft202012Validator, type_checker=_TYPES)


def _violations(value: dict, schema: dict, where: str) -> list[str]:
    errors = _Validator(schema).iter_errors(value)
    ordered = sorted(errors, key=lambda e: [str(part) for part in e.absolute_path])
    return list(dict.fromkeys(_say(error, where) for error in ordered))


def _read_yaml(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _check_origin(name: str, dataset: dict) -> Iterator[str]:
    if dataset["source"] == "geography" or ("path" in dataset) != ("files" in dataset):
        return
    both = "path" in dataset
    yield (
        f"config: datasets.{name}: {'both' if both else 'missing'} path (a file of your own) "
        f"{'and' if both else 'or'} files (published ones); give one of the two"
    )


def _check_dataset(name: str, dataset: dict, sources: Sources, root: Path) -> Iterator[str]:
    at, kind = f"config: datasets.{name}", dataset["source"]
    if "path" in dataset and not (root / dataset["path"]).is_file():
        yield (
            f"{at}.path = {dataset['path']!r}: no such file; give a path relative to the "
            "repository or an absolute one"
        )
    if dataset.get("files") == "whole" and not sources.whole(kind):
        yield (
            f"{at}.files = 'whole': no place is known that has all of {kind}; allowed: authors, or "
            "a path"
        )


def _check_trials(config: dict, name: str, sources: Sources, root: Path) -> Iterator[str]:
    dataset, trials = config["datasets"][name], config["trials"]
    count, size = trials["count"], trials["size"]
    if dataset.get("files") == "authors":
        files = sources.trials(dataset["source"])
        held = min(sources.records(file) for file in files)
        if count > len(files):
            yield (
                f"config: trials.count = {count}: the authors have {len(files)} trials of {name}; "
                f"allowed: at most {len(files)}"
            )
        if size > held:
            yield (
                f"config: trials.size = {size}: the authors' trials of {name} have {held} requests;"
                f" allowed: at most {held}"
            )
        return
    offered = available_requests(dataset, sources, root)
    if count * size > offered:
        yield (
            f"config: trials: {count} trials of {size} ask for {count * size} requests, {name} has "
            f"{offered}; allowed: size at most {offered // count}"
        )


def _check_eligible(config: dict, known: list[str], sources: Sources) -> Iterator[str]:
    for model, size in config["eligible"].get("authors", {}).items():
        at = f"config: eligible.authors.{model} = {size}"
        if model not in known:
            yield f"{at}: no such model; allowed: {', '.join(known)} (config/models/*.yaml)"
        if size not in sources.eligible:
            yield f"{at}: allowed: {', '.join(str(n) for n in sorted(sources.eligible))}"


def _check_covariance(settings: "Settings") -> Iterator[str]:
    if settings.config["covariance"]["source"] != "authors":
        return
    for model in settings.models:
        if settings.layers(model) and not settings.sources.has_statistics(model):
            yield (
                f"config: covariance.source = 'authors': they have none of {model}; allowed: "
                "embedded, fast, recompute"
            )


def _check_runs(config: dict, models: dict[str, dict], known: list[str]) -> Iterator[str]:
    seen: set[tuple[str, str, str]] = set()
    for i, block in enumerate(config["runs"]):
        at = f"config: runs.{i}"
        if block["dataset"] not in config["datasets"]:
            yield (
                f"{at}.dataset = {block['dataset']!r}: "
                f"allowed: {', '.join(sorted(config['datasets']))}"
            )
        elif block["requests"] == "eligible":
            if config["datasets"][block["dataset"]]["source"] == "zsre":
                yield (
                    f"{at}.requests = 'eligible': zsRE has one neighbor per record, the filter and "
                    "neighbor-assisted methods need two (SPEC D.4); allowed: all, and plain methods"
                )
        if _trials(config, block) > config["trials"]["count"]:
            yield (
                f"{at}.trials = {block['trials']}: allowed: at most trials.count = "
                f"{config['trials']['count']}"
            )
        authors = _of_authors(config, block)
        for model in block["models"]:
            if model not in known:
                yield f"{at}.models: {model!r}: allowed: {', '.join(known)} (config/models/*.yaml)"
            if model in authors and _trials(config, block) > 1:
                yield (
                    f"{at}.trials = {_trials(config, block)}: the authors' eligible requests for "
                    f"{model} are one trial (eligible.authors); allowed: 1"
                )
        for name in block["methods"]:
            if name not in METHODS:
                yield f"{at}.methods: {name!r}: allowed: {NAMES}"
                continue
            method = METHODS[name]
            if method.neighbor_assisted and block["requests"] != "eligible":
                yield (
                    f"{at}.requests = {block['requests']!r}: {name} needs a surviving neighbor per "
                    "request; allowed: eligible"
                )
            most = config["eligible"]["editing_neighbors"]
            if method.n_neighbors > most:
                yield (
                    f"{at}.methods: {name!r} needs {method.n_neighbors} neighbors per request, "
                    f"eligible.editing_neighbors = {most} keeps fewer; raise it"
                )
            elif method.n_neighbors > 1 and (given := sorted({*block["models"]} & {*authors})):
                yield (
                    f"{at}.methods: {name!r} needs {method.n_neighbors} neighbors per request, the "
                    f"authors' eligible requests have one; take {given[0]} out of eligible.authors"
                )
            for model in (m for m in block["models"] if m in models):
                if method.algorithm not in models[model]["algorithms"]:
                    yield (
                        f"{at}.methods: {name!r}: no hyperparameters in config/models/"
                        f"{model}.yaml; allowed: {', '.join(models[model]['algorithms'])}"
                    )
                key = (dataset_name(block), model, name)
                if key in seen:
                    yield f"{at}: {' / '.join(key)} is asked for twice; keep one of the two"
                seen.add(key)


def _check_layers(model: str, description: dict) -> Iterator[str]:
    for algorithm, hyper in description["algorithms"].items():
        beyond = [i for i in hyper["layers"] if i >= description["depth"]]
        if beyond:
            yield (
                f"config/models/{model}.yaml: algorithms.{algorithm}.layers = {hyper['layers']}: "
                f"layer {beyond[0]} does not exist; allowed: 0..{description['depth'] - 1}"
            )


def dataset_name(block: dict) -> str:
    """Name of a run block's requests in paths and tables: the dataset, marked when filtered."""
    return block["dataset"] + (ELIGIBLE if block["requests"] == "eligible" else "")


def _trials(config: dict, block: dict) -> int:
    """How many trials the runs of a block have."""
    return block.get("trials", config["trials"]["count"])


def _of_authors(config: dict, block: dict) -> dict[str, int]:
    """{model: size} of the authors' eligible sets that the runs of a block edit."""
    dataset = config["datasets"].get(block["dataset"], {})
    if block["requests"] != "eligible" or dataset.get("source") != "counterfact":
        return {}
    return config["eligible"].get("authors", {})


def available_requests(dataset: dict, sources: Sources, root: Path) -> int:
    """How many requests a dataset that is sampled offers, without building or fetching them."""
    if dataset["source"] == "geography":
        return GEOGRAPHY_REQUESTS
    if dataset.get("files") == "whole":
        return sources.records(sources.whole(dataset["source"]))
    return len(json.loads((root / dataset["path"]).read_text(encoding="utf-8")))


def load_settings(config: dict, root: Path) -> Settings:
    """Check `config` against the schemas, the files below `root`, and itself.

    Raises ConfigError with one line per problem.
    """
    schemas = root / "workflow" / "schemas"
    problems = _violations(config, _read_yaml(schemas / "config.schema.yaml"), "config")
    problems = problems or [
        problem
        for name, dataset in config["datasets"].items()
        for problem in _check_origin(name, dataset)
    ]
    if problems:
        raise ConfigError("\n".join(problems))

    described = _read_yaml(root / "config" / "sources.yaml")
    source_schema = _read_yaml(schemas / "sources.schema.yaml")
    if problems := _violations(described, source_schema, "config/sources.yaml"):
        raise ConfigError("\n".join(problems))
    sources = Sources(described)

    folder = root / "config" / "models"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    wanted = sorted({m for block in config["runs"] for m in block["models"]} & set(known))
    model_schema = _read_yaml(schemas / "model.schema.yaml")
    models = {}
    for name in wanted:
        description = deepcopy(_read_yaml(folder / f"{name}.yaml"))
        problems += (found := _violations(description, model_schema, f"config/models/{name}.yaml"))
        if not found:
            models[name] = description
            problems += _check_layers(name, description)
    problems += _check_runs(config, models, known)
    for name in sorted({b["dataset"] for b in config["runs"]} & set(config["datasets"])):
        found = list(_check_dataset(name, config["datasets"][name], sources, root))
        problems += found or _check_trials(config, name, sources, root)
    problems += _check_eligible(config, known, sources)
    stop = config["stop"]
    if stop["extended"] < stop["iterations"]:
        problems.append(
            f"config: stop.extended = {stop['extended']}: must be at least stop.iterations = "
            f"{stop['iterations']}"
        )
    offline = config.get("offline")
    if offline and not (root / offline).is_dir():
        problems.append(
            f"config: offline = {offline!r}: no such folder; give a path relative to the "
            "repository or an absolute one"
        )
    if problems:
        raise ConfigError("\n".join(problems))

    presets = _read_yaml(root / "config" / "presets.yaml")
    runs = tuple(
        Run(dataset_name(block), model, method, trial, block.get("iterations"))
        for block in config["runs"]
        for model in block["models"]
        for method in block["methods"]
        for trial in range(1, _trials(config, block) + 1)
    )
    switches = presets[config["preset"]] | config.get("switches", {})
    settings = Settings(dict(config), switches, models, runs, sources)
    if problems := list(_check_covariance(settings)):
        raise ConfigError("\n".join(problems))
    return settings
