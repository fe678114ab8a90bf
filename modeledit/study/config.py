"""A configuration, checked whole before anything runs, and what follows from it.

Types say what a single value may be (`settings`, `models`, `switches`), `checks` what must fit
together. All problems are reported at once. No torch is imported.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import get_args

import yaml

from modeledit.study import checks
from modeledit.study.checks import ELIGIBLE, GEOGRAPHY_REQUESTS, dataset_name
from modeledit.study.layout import Run, Sequence
from modeledit.study.masking import masked
from modeledit.study.methods import METHODS
from modeledit.study.models import Model
from modeledit.study.own_facts import with_facts
from modeledit.study.published_files import PublishedFiles, Sources
from modeledit.study.settings import Configuration, Preset, RunBlock, Stop
from modeledit.study.switches import Switches
from modeledit.study.validation import Invalid, validate

__all__ = ["ELIGIBLE", "GEOGRAPHY_REQUESTS", "ConfigError", "Settings", "dataset_name"]
LEAST_TOKENS = 0.9  # for each row of the key: with fewer a covariance is refused, however varied
FAST_TOKENS = 10  # for each row of the key in a "fast" covariance: enough to be inverted, no more


class ConfigError(ValueError):
    """Everything that is wrong with a configuration, in one message without passwords."""

    def __init__(self, message: str):
        super().__init__(masked(message))


@dataclass(frozen=True)
class Settings:
    """A checked configuration: the merged values, the resolved switches, the models, the runs."""

    config: Configuration
    switches: Switches
    models: dict[str, Model]
    runs: tuple[Run, ...]
    sequences: tuple[Sequence, ...]
    sources: Sources

    @property
    def chains(self) -> tuple[Run | Sequence, ...]:
        """All runs and sequences of batches."""
        return (*self.runs, *self.sequences)

    @property
    def titles(self) -> dict[str, str]:
        """Printed name of every model."""
        return {name: model.title for name, model in self.models.items()}

    @property
    def small_models(self) -> list[str]:
        """Printed names of the models that must not be set against the paper's numbers."""
        return sorted(model.title for model in self.models.values() if not model.comparable)

    def trials(self, dataset: str, model: str, method: str) -> int:
        """How many trials of a method are run."""
        return sum((r.dataset, r.model, r.method) == (dataset, model, method) for r in self.runs)

    def stop(self, dataset: str, model: str, method: str) -> Stop:
        """The stop rule of a method's runs; its block's `iterations` stand for both budgets."""
        return self._own_stops.get((dataset, model, method), self.config.stop)

    def stop_of_batch(self, sequence: Sequence) -> Stop:
        """The stop rule of each batch of a sequence."""
        own = sequence.iterations
        stop = self.config.stop
        return replace(stop, iterations=own, extended=own) if own else stop

    @cached_property
    def _own_stops(self) -> dict[tuple[str, str, str], Stop]:
        """The stop rules of dataset, model and method whose block has `iterations`."""
        found: dict[tuple[str, str, str], Stop] = {}
        for r in self.runs:
            if r.iterations:
                own = replace(self.config.stop, iterations=r.iterations, extended=r.iterations)
                found.setdefault((r.dataset, r.model, r.method), own)
        return found

    def authors_set(self, dataset: str, model: str) -> str | None:
        """The file that holds the authors' eligible requests for `model`, or None: we filter."""
        base = dataset.removesuffix(ELIGIBLE)
        if base == dataset or self.config.datasets[base].source != "counterfact":
            return None
        size = self.config.eligible.authors.get(model)
        return None if size is None else self.sources.eligible[size]

    def most_requests(self, dataset: str, model: str) -> int:
        """How many requests a trial may have."""
        if not (name := self.authors_set(dataset, model)):
            return self.config.trials.size
        held = self.sources.records(name)
        return min(self.config.eligible.size or held, held)

    def needs_covariance(self, method: str) -> bool:
        """Whether a method's write uses C: all do but ROME without it (I9)."""
        return METHODS[method].write == "spread" or self.switches.rome_covariance

    def needs_factors(self, method: str) -> bool:
        """Whether it uses C's Cholesky factor; what does not may use its null space."""
        how = METHODS[method]
        return self.needs_covariance(method) and how.protects == "covariance"

    def null_space_layers(self, model: str) -> list[int]:
        """All layers of `model` into whose null space some method writes."""
        return self._layers_of(model, lambda method: METHODS[method].protects == "null_space")

    def factor_layers(self, model: str) -> list[int]:
        """All layers of `model` whose covariance has to be factorised."""
        return self._layers_of(model, self.needs_factors)

    def layers(self, model: str) -> list[int]:
        """All layers of `model` whose covariance some method of this configuration needs."""
        return self._layers_of(model, self.needs_covariance)

    def _layers_of(self, model: str, chosen: Callable[[str], bool]) -> list[int]:
        """All layers of `model` that those of its methods write which are `chosen`."""
        algorithms = {
            METHODS[chain.method].parameters
            for chain in self.chains
            if chain.model == model and chosen(chain.method)
        }
        described = self.models[model]
        return sorted({i for a in algorithms for i in described.hyperparameters(a).layers})


def read_yaml(path: Path, where: str) -> object:
    """What a YAML file holds; ConfigError that names it `where` if it is none.

    Also where a key is there twice: YAML would take the last one without a word.
    """
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            return None
        _check_keys(node, where, set())
        return loader.construct_document(node)
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror or error}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: not YAML: too deeply nested") from error
    except ConfigError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no such date, endless numbers
        raise ConfigError(f"{where}: not YAML: {' '.join(str(error).split())}") from error


def check_files(paths: Iterable[Path | str]) -> None:
    """Refuse YAML files of a configuration that have a key twice, which its readers do not tell."""
    for path in map(Path, paths):
        if path.suffix in (".yaml", ".yml") and not _is_json(path):
            read_yaml(path, str(path))


def _is_json(path: Path) -> bool:
    """Whether a file is JSON, whatever its name; Snakemake takes it for that first."""
    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return True


def _check_keys(node: yaml.Node, where: str, seen: set[int]) -> None:
    """Raise ConfigError for a key that is twice in a mapping at or below `node`."""
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for inner in node.value:
            _check_keys(inner, where, seen)
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, inner in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in lines:
                    raise ConfigError(
                        f"{where}, line {line}: the key {key.value!r} is in line "
                        f"{lines[key.value]} already; keep one of the two"
                    )
                lines[key.value] = line
            _check_keys(inner, where, seen)


def load_settings(config: dict, root: Path, count: Callable[[Path], int]) -> Settings:
    """Check `config` against its types, the files below `root`, and itself.

    `count` counts the records of a file of the user.

    Raises ConfigError with one line per problem.
    """
    config = with_facts(config, root, count)
    try:
        checked = validate(Configuration, config, "config")
    except Invalid as error:
        _raise(sorted({*error.problems, *_switch_problems(config, root)}))
        raise
    _raise(_switch_problems(config, root))
    _raise(checks.check_origins(checked))
    try:
        switches, sources = _switches(checked.preset, checked.switches, root), _sources(root)
    except Invalid as error:
        raise ConfigError(str(error)) from error
    known = sorted(path.stem for path in (root / "config" / "models").glob("*.yaml"))
    models, found = _models(checked, known, root)
    around = checks.Surroundings(root, known, models, sources, count)
    _raise([*found, *checks.problems(checked, around)])
    runs, sequences = planned_runs(checked), planned_sequences(checked)
    settings = Settings(checked, switches, models, runs, sequences, sources)
    _raise(_covariance_problems(settings))
    return settings


def planned_runs(config: Configuration) -> tuple[Run, ...]:
    """Every run of a configuration: each combination in each block, trial by trial."""
    return tuple(
        Run(dataset_name(block), model, method, trial, block.iterations)
        for block, model, method, trial in _combinations(config)
        if block.batches is None
    )


def planned_sequences(config: Configuration) -> tuple[Sequence, ...]:
    """Every sequence of batches of a configuration, in the same order."""
    return tuple(
        Sequence(
            dataset_name(block),
            model,
            method,
            trial,
            **vars(batches),
            iterations=block.iterations,
        )
        for block, model, method, trial in _combinations(config)
        if (batches := block.batches) is not None
    )


def _combinations(config: Configuration) -> Iterator[tuple[RunBlock, str, str, int]]:
    for block in config.runs:
        for model, method in product(block.models, block.methods):
            for trial in range(1, checks.trials_of(config, block) + 1):
                yield block, model, method, trial


def _raise(problems: Iterable[str]) -> None:
    if lines := list(problems):
        raise ConfigError("\n".join(lines))


def preset_switches(preset: str, root: Path) -> Switches:
    """What config/presets.yaml below `root` settles; Invalid or ConfigError if it is wrong."""
    presets = read_yaml(root / "config" / "presets.yaml", "config/presets.yaml")
    found = presets.get(preset) if isinstance(presets, dict) else None
    return validate(Switches, found, "config/presets.yaml", (preset,))


def described_model(name: str, root: Path) -> Model:
    """What config/models below `root` says of a model; Invalid or ConfigError if it is wrong."""
    at = f"config/models/{name}.yaml"
    return validate(Model, read_yaml(root / at, at), at)


def _switches(preset: str, overrides: dict[str, object], root: Path) -> Switches:
    """The preset's switches with the configuration's over them."""
    settled = vars(preset_switches(preset, root))
    return validate(Switches, settled | overrides, "config", ("switches",))


def _switch_problems(config: dict, root: Path) -> list[str]:
    """What is wrong with the switches of a configuration whose other values may be wrong too."""
    preset, overrides = config.get("preset"), config.get("switches", {})
    if not isinstance(preset, str) or not isinstance(overrides, dict):
        return []
    if preset not in get_args(Preset):
        return []
    try:
        _switches(preset, overrides, root)
    except Invalid as error:
        return error.problems
    return []


def _sources(root: Path) -> Sources:
    at = "config/sources.yaml"
    described = validate(PublishedFiles, read_yaml(root / at, at), at)
    _raise(checks.check_published(described))
    return Sources(described)


def _models(
    config: Configuration, known: list[str], root: Path
) -> tuple[dict[str, Model], list[str]]:
    """Descriptions of the models that the runs name, of those that are right; all that is wrong."""
    models: dict[str, Model] = {}
    problems: list[str] = []
    for name in sorted({m for block in config.runs for m in block.models} & set(known)):
        try:
            models[name] = described_model(name, root)
        except Invalid as error:
            problems += error.problems
        except ConfigError as error:
            problems.append(str(error))
    return models, problems


def _covariance_problems(settings: Settings) -> list[str]:
    if settings.config.covariance.source != "authors":
        return [] if settings.config.partial else [*_too_few_tokens(settings)]
    return [
        f"config: covariance.source = 'authors': they have none of {model}; allowed: embedded, "
        "fast, recompute"
        for model in settings.models
        if settings.layers(model) and not settings.sources.has_statistics(model)
    ]


def _too_few_tokens(settings: Settings) -> Iterator[str]:
    """Covariances of so few tokens that a job could only refuse to invert them."""
    text, covariance = settings.config.text, settings.config.covariance
    if covariance.source == "embedded":
        at, articles, length = "text.covariance_", text.covariance_articles, text.covariance_length
    elif covariance.source == "recompute" and covariance.length:
        at, articles, length = "covariance.", covariance.articles, covariance.length
    else:
        return
    for name, model in settings.models.items():
        needed = math.ceil(LEAST_TOKENS * model.mlp_width)
        if settings.layers(name) and articles * length < needed:
            yield (
                f"config: {at}articles = {articles} and {at}length = {length}: {articles * length} "
                f"tokens at most, the covariance of {name} needs {needed} to be inverted; raise one"
                " of the two"
            )
