"""A configuration, checked whole before anything runs.

Schemas say what a single value may be; the checks here say what must fit together: methods and
models that exist, layers that the model has, trials that the data can fill. All problems are
reported at once, each with the key, the value and what is allowed. No torch is imported.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from modeledit.geography import AVAILABLE
from modeledit.methods import METHODS, NAMES

ELIGIBLE = "-eligible"  # suffix of a dataset whose requests passed the neighbor filter


class ConfigError(ValueError):
    """Everything that is wrong with a configuration, in one message."""


@dataclass(frozen=True)
class Run:
    """One chain of iterations: dataset x model x method x trial."""

    dataset: str
    model: str
    method: str
    trial: int


@dataclass(frozen=True)
class Settings:
    """A checked configuration: the merged values, the resolved switches, the models, the runs."""

    config: dict
    switches: dict
    models: dict[str, dict]
    runs: tuple[Run, ...]

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
        for model in block["models"]:
            if model not in known:
                yield f"{at}.models: {model!r}: allowed: {', '.join(known)} (config/models/*.yaml)"
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


def available_requests(dataset: dict, root: Path) -> int:
    """How many requests a dataset offers, without building them."""
    if dataset["source"] == "geography":
        return AVAILABLE
    return len(json.loads((root / dataset["path"]).read_text(encoding="utf-8")))


def load_settings(config: dict, root: Path) -> Settings:
    """Check `config` against the schemas, the files below `root`, and itself.

    Raises ConfigError with one line per problem.
    """
    schemas = root / "workflow" / "schemas"
    problems = _violations(config, _read_yaml(schemas / "config.schema.yaml"), "config")
    if problems:
        raise ConfigError("\n".join(problems))

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

    trials = config["trials"]
    for name in sorted({b["dataset"] for b in config["runs"]} & set(config["datasets"])):
        dataset = config["datasets"][name]
        if "path" in dataset and not (root / dataset["path"]).is_file():
            problems.append(
                f"config: datasets.{name}.path = {dataset['path']!r}: no such file; give a path "
                "relative to the repository or an absolute one"
            )
            continue
        offered = available_requests(dataset, root)
        asked = trials["count"] * trials["size"]
        if asked > offered:
            problems.append(
                f"config: trials: {trials['count']} trials of {trials['size']} ask for {asked} "
                f"requests, {name} has {offered}; allowed: size at most "
                f"{offered // trials['count']}"
            )
    stop = config["stop"]
    if stop["extended"] < stop["iterations"]:
        problems.append(
            f"config: stop.extended = {stop['extended']}: must be at least stop.iterations = "
            f"{stop['iterations']}"
        )
    if problems:
        raise ConfigError("\n".join(problems))

    presets = _read_yaml(root / "config" / "presets.yaml")
    runs = tuple(
        Run(dataset_name(block), model, method, trial)
        for block in config["runs"]
        for model in block["models"]
        for method in block["methods"]
        for trial in range(1, trials["count"] + 1)
    )
    switches = presets[config["preset"]] | config.get("switches", {})
    return Settings(dict(config), switches, models, runs)


def describe_dataset(name: str) -> str:
    """A dataset's printed name: CounterFact, "geography (eligible)"."""
    base = name.removesuffix(ELIGIBLE)
    printed = {"counterfact": "CounterFact", "zsre": "zsRE"}.get(base, base)
    return printed + (" (eligible)" if base != name else "")


def small_model_note(titles: list[str]) -> str:
    """The sentence under everything that was measured on a model the paper does not use."""
    if not titles:
        return ""
    return f"Measured on {', '.join(titles)}; not comparable with the paper's numbers."
