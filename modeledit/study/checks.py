"""What must fit together in a configuration whose single values are right.

Methods and models that exist, layers that the model has, trials that the data can fill. Each check
yields a line for each problem, with the key, the value and what is allowed. No file that is still
to be downloaded is read: config/sources.yaml says how much is in it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeledit.study.masking import has_password, masked
from modeledit.study.methods import METHODS, NAMES, Method
from modeledit.study.models import FolderSource, Model
from modeledit.study.own_facts import takes_export
from modeledit.study.published_files import PublishedFiles, Sources
from modeledit.study.settings import Configuration, Dataset, RunBlock

MODEL_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}"
ELIGIBLE = "-eligible"  # suffix of a dataset whose requests passed the neighbor filter
GEOGRAPHY_REQUESTS = 2434  # that the built-in facts give, whatever the seed; known without them


@dataclass(frozen=True)
class Surroundings:
    """What a configuration is held against: known models, their descriptions, published files.

    `models` holds those that the runs name and whose description is right; `known` names all.
    `count` counts the records of a file of the user.
    """

    root: Path
    known: Sequence[str]
    models: Mapping[str, Model]
    sources: Sources
    count: Callable[[Path], int]


def problems(config: Configuration, around: Surroundings) -> Iterator[str]:
    """Everything in `config` that does not fit together."""
    for name, model in around.models.items():
        yield from check_model(name, model)
        if not config.partial:
            yield from check_folder(name, model, around.root)
    for i, block in enumerate(config.runs):
        at = "config: facts" if config.facts else f"config: runs.{i}"
        yield from _check_block(config, at, block, around)
    yield from _check_twice(config, around.models)
    used = {block.dataset for block in config.runs}
    for name in sorted(used & config.datasets.keys()):
        found = list(_check_dataset(name, config.datasets[name], around))
        yield from found or _check_trials(config, name, around)
    yield from _check_eligible(config, around)
    if config.stop.extended < config.stop.iterations:
        yield (
            f"config: stop.extended = {config.stop.extended}: must be at least stop.iterations = "
            f"{config.stop.iterations}"
        )
    gathered = config.covariance.source in ("embedded", "recompute")
    if config.covariance.tolerance is not None and not gathered:
        yield (
            f"config: covariance.tolerance = {config.covariance.tolerance}: source = "
            f"'{config.covariance.source}' has its own size; allowed: null, or source embedded or "
            "recompute"
        )
    yield from _check_evaluation(config, around.root)
    if config.facts and config.facts.export and not takes_export(around.root / config.facts.export):
        yield (
            f"config: facts.export = {config.facts.export!r}: it is there and holds no earlier "
            "export; name a folder that does not exist yet"
        )
    if config.offline and not _is_folder(around.root / config.offline):
        yield (
            f"config: offline = {config.offline!r}: no such folder; give a path relative to the "
            "repository or an absolute one"
        )


def _check_evaluation(config: Configuration, root: Path) -> Iterator[str]:
    """Templates without a subject, files that are not there, datasets without probes."""
    fluency, probes = config.evaluation.fluency, config.evaluation.probes
    yield from _check_judge(config, root)
    harness = config.evaluation.harness
    if harness and harness.include and not _is_folder(root / harness.include):
        yield (
            f"config: evaluation.harness.include = {harness.include!r}: no such folder; give a "
            "path relative to the project or an absolute one"
        )
    if fluency:
        at = "config: evaluation.fluency"
        for i, prompt in enumerate(fluency.prompts):
            if prompt.count("{}") != 1:
                yield f"{at}.prompts.{i} = {prompt!r}: must hold exactly one {{}} for the subject"
        if fluency.references and not (root / fluency.references).is_file():
            yield f"{at}.references = {fluency.references!r}: no such file"
    if probes is None:
        return
    at = "config: evaluation.probes.files"
    for name, described in probes.files.items():
        if name not in config.datasets:
            allowed = ", ".join(sorted(config.datasets))
            yield f"{at}.{name}: no such dataset; allowed: {allowed}"
        if not (root / described.path).is_file():
            yield f"{at}.{name}.path = {described.path!r}: no such file"
    for name in sorted({block.dataset for block in config.runs if block.batches is None}):
        dataset = config.datasets.get(name)
        if dataset and dataset.source != "geography" and name not in probes.files:
            yield f"{at}: missing {name}; only the probes of geography are built in"


def _check_judge(config: Configuration, root: Path) -> Iterator[str]:
    """A judge who has nothing to judge, or two sources of verdicts, or no address of the web."""
    judge, at = config.evaluation.judge, "config: evaluation.judge"
    if judge is None:
        return
    if config.evaluation.generation is None:
        yield f"{at}: judges what evaluation.generation lets models say; give that, too"
    if judge.verdicts and judge.server:
        yield f"{at}: both verdicts and server; give one of the two, or none"
    if judge.verdicts and not _is_file(root / judge.verdicts):
        yield f"{at}.verdicts = {judge.verdicts!r}: no such file"
    if judge.model and not judge.server:
        yield f"{at}.model = {judge.model!r}: there is no server to ask for it; give server, too"
    if judge.server is None:
        return
    if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", judge.server):
        yield (
            f"{at}.server = {masked(judge.server)!r}: allowed: addresses like "
            "http://127.0.0.1:8000/v1, http or https"
        )
    elif has_password(judge.server):
        yield (
            f"{at}.server = {masked(judge.server)!r}: a password would be copied into records of "
            "the workflow; set the variable OPENAI_API_KEY"
        )


def check_origins(config: Configuration) -> Iterator[str]:
    """Datasets that say too little or too much of where they come from."""
    for name, dataset in config.datasets.items():
        at, given = f"config: datasets.{name}", (dataset.path, dataset.files)
        if dataset.source == "geography":
            if given != (None, None):
                yield f"{at}: source geography takes no further key; keep source alone"
        elif dataset.source == "own" and (dataset.path is None or dataset.files):
            yield f"{at}: source own is a file of yours; give its path, and no files"
        elif None not in given:
            yield (
                f"{at}: both path (a file of your own) and files (published ones); give one of the "
                "two"
            )
        elif given == (None, None):
            yield (
                f"{at}: missing path (a file of your own) or files (published ones); give one of "
                "the two"
            )


def check_published(described: PublishedFiles) -> Iterator[str]:
    """Names in config/sources.yaml that nothing describes."""
    at = "config/sources.yaml"
    for place, addresses in described.places.items():
        for i, address in enumerate(addresses):
            if has_password(address):
                yield (
                    f"{at}: places.{place}.{i} = {masked(address)!r}: a password would be copied "
                    "into records of the workflow; put `machine HOST login USER password PASSWORD` "
                    "into ~/.netrc, from where it is taken"
                )
    for name, file in described.files.items():
        if file.place not in described.places:
            places = ", ".join(sorted(described.places))
            yield f"{at}: files.{name}.place = {file.place!r}: allowed: {places}"
    named = [(f"trials.{kind}", name) for kind, names in described.trials.items() for name in names]
    named += [(f"whole.{kind}", name) for kind, name in described.whole.items()]
    named += [(f"eligible.{size}", name) for size, name in described.eligible.items()]
    for key, name in [*named, ("perplexity", described.perplexity)]:
        if name not in described.files:
            yield f"{at}: {key} = {name!r}: not described below files"


def check_model(name: str, model: Model) -> Iterator[str]:
    """Layers that the model does not have."""
    for algorithm, hyper in model.algorithms.described().items():
        beyond = [i for i in hyper.layers if i >= model.depth]
        if beyond:
            yield (
                f"config/models/{name}.yaml: algorithms.{algorithm}.layers = {list(hyper.layers)}: "
                f"layer {beyond[0]} does not exist; allowed: 0..{model.depth - 1}"
            )


def _check_block(
    config: Configuration, at: str, block: RunBlock, around: Surroundings
) -> Iterator[str]:
    dataset = config.datasets.get(block.dataset)
    if dataset is None:
        yield f"{at}.dataset = {block.dataset!r}: allowed: {', '.join(sorted(config.datasets))}"
    elif block.requests == "eligible" and dataset.source == "zsre":
        yield (
            f"{at}.requests = 'eligible': zsRE has one neighbor per record, the filter and "
            "neighbor-assisted methods need two (SPEC D.4); allowed: all, and plain methods"
        )
    trials = trials_of(config, block)
    if trials > config.trials.count:
        yield (f"{at}.trials = {trials}: allowed: at most trials.count = {config.trials.count}")
    authors = _of_authors(config, block)
    for model in block.models:
        if model in around.known and not re.fullmatch(MODEL_NAME, model, re.ASCII):
            yield (
                f"{at}.models: {model!r}: the name becomes a part of paths; name the file in "
                "config/models with letters, digits and _.+- only"
            )
        if model not in around.known:
            allowed = ", ".join(around.known)
            yield f"{at}.models: {model!r}: allowed: {allowed} (config/models/*.yaml)"
        if model in authors and trials > 1:
            yield (
                f"{at}.trials = {trials}: the authors' eligible requests for {model} are one trial "
                "(eligible.authors); allowed: 1"
            )
    if block.batches:
        yield from _check_batches(config, at, block, around)
    for name in block.methods:
        if name in METHODS:
            yield from _check_method(config, at, block, METHODS[name], around.models)
        else:
            yield f"{at}.methods: {name!r}: allowed: {NAMES}"


def _check_batches(
    config: Configuration, at: str, block: RunBlock, around: Surroundings
) -> Iterator[str]:
    """Batches that a trial cannot fill, and methods that have no meaning in them."""
    batches = block.batches
    if batches is None or block.dataset not in config.datasets:
        return
    wanted, authors = batches.size * batches.count, _of_authors(config, block)
    asked = f"{at}.batches: {batches.count} batches of {batches.size} ask for {wanted} requests, "
    if wanted > config.trials.size and set(block.models) - authors.keys():
        yield (
            f"{asked}a trial has trials.size = {config.trials.size}; allowed: size * count at most "
            "that"
        )
    for model in block.models:
        file = around.sources.eligible.get(authors.get(model, 0))
        if file is None:
            continue
        held = around.sources.records(file)
        held = min(config.eligible.size or held, held)
        if wanted > held:
            yield (
                f"{asked}the authors' eligible requests for {model} are {held}; allowed: size * "
                "count at most that"
            )
    for name in block.methods:
        if name in METHODS and METHODS[name].repeats == "optimization":
            yield (
                f"{at}.methods: {name!r}: it starts each iteration from the unedited weights, which"
                " batches in sequence leave behind; allowed: methods without OPTIMIZATION_"
            )


def _check_method(
    config: Configuration, at: str, block: RunBlock, method: Method, models: Mapping[str, Model]
) -> Iterator[str]:
    if method.neighbor_assisted and block.requests != "eligible":
        yield (
            f"{at}.requests = {block.requests!r}: {method.name} needs a surviving neighbor per "
            "request; allowed: eligible"
        )
    needs = f"{at}.methods: {method.name!r} needs {method.n_neighbors} neighbors per request, "
    given = sorted({*block.models} & {*_of_authors(config, block)})
    if method.n_neighbors > config.eligible.editing_neighbors:
        yield (
            f"{needs}eligible.editing_neighbors = {config.eligible.editing_neighbors} keeps fewer; "
            "raise it"
        )
    elif method.n_neighbors > 1 and given:
        yield (
            f"{needs}the authors' eligible requests have one; take {given[0]} out of "
            "eligible.authors"
        )
    for model in (m for m in block.models if m in models):
        described = models[model].algorithms.described()
        if method.parameters not in described:
            yield (
                f"{at}.methods: {method.name!r}: no hyperparameters in config/models/{model}.yaml; "
                f"allowed: {', '.join(described)}"
            )


def _check_twice(config: Configuration, models: Mapping[str, Model]) -> Iterator[str]:
    seen: set[tuple[str, ...]] = set()
    for i, block in enumerate(config.runs):
        for method in (m for m in block.methods if m in METHODS):
            for model in (m for m in block.models if m in models):
                of = [f"batches of {block.batches.size}"] if block.batches else []
                key = (dataset_name(block), model, method, *of)
                if key in seen:
                    yield (
                        f"config: runs.{i}: {' / '.join(key)} is asked for twice; keep one of the "
                        "two"
                    )
                seen.add(key)


def _check_dataset(name: str, dataset: Dataset, around: Surroundings) -> Iterator[str]:
    at = f"config: datasets.{name}"
    if dataset.path and not _is_file(around.root / dataset.path):
        yield (
            f"{at}.path = {dataset.path!r}: no such file; give a path relative to the repository "
            "or an absolute one"
        )
    if dataset.files == "whole" and not around.sources.whole(dataset.source):
        yield (
            f"{at}.files = 'whole': no place is known that has all of {dataset.source}; allowed: "
            "authors, or a path"
        )


def _check_trials(config: Configuration, name: str, around: Surroundings) -> Iterator[str]:
    dataset, count, size = config.datasets[name], config.trials.count, config.trials.size
    if dataset.files == "authors":
        files = around.sources.trials(dataset.source)
        held = min(around.sources.records(file) for file in files)
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
    offered = available_requests(dataset, around)
    if count * size > offered:
        allowed = f"size at most {offered // count}"
        if count > offered:
            allowed = f"count * size at most {offered}"
        yield (
            f"config: trials: {count} trials of {size} ask for {count * size} requests, {name} has "
            f"{offered}; allowed: {allowed}"
        )


def _check_eligible(config: Configuration, around: Surroundings) -> Iterator[str]:
    if config.eligible.others == "keep" and config.eligible.editing_neighbors:
        yield (
            f"config: eligible.editing_neighbors = {config.eligible.editing_neighbors}: with "
            "eligible.others = 'keep' requests without neighbors are edited too; allowed: 0"
        )
    known = f"no such model; allowed: {', '.join(around.known)} (config/models/*.yaml)"
    for model, size in config.eligible.authors.items():
        at = f"config: eligible.authors.{model} = {size}"
        if model not in around.known:
            yield f"{at}: {known}"
        if size not in around.sources.eligible:
            yield f"{at}: allowed: {', '.join(str(n) for n in sorted(around.sources.eligible))}"
    for model, path in config.eligible.compare.items():
        at = f"config: eligible.compare.{model} = {path!r}"
        if model not in around.known:
            yield f"{at}: {known}"
        if not _is_file(around.root / path):
            yield f"{at}: no such file; give a path relative to the repository or an absolute one"


def check_folder(name: str, model: Model, root: Path) -> Iterator[str]:
    """A model's folder that is not there."""
    if isinstance(model.source, FolderSource) and not _is_folder(root / model.source.path):
        yield (
            f"config/models/{name}.yaml: source.path = {model.source.path!r}: no such folder; give "
            "a path relative to the project or an absolute one"
        )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be looked into
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def dataset_name(block: RunBlock) -> str:
    """Name of a run block's requests in paths and tables: the dataset, marked when filtered."""
    return block.dataset + (ELIGIBLE if block.requests == "eligible" else "")


def trials_of(config: Configuration, block: RunBlock) -> int:
    """How many trials the runs of a block have."""
    return config.trials.count if block.trials is None else block.trials


def _of_authors(config: Configuration, block: RunBlock) -> Mapping[str, int]:
    """{model: size} of the authors' eligible sets that the runs of a block edit."""
    dataset = config.datasets.get(block.dataset)
    if block.requests != "eligible" or dataset is None or dataset.source != "counterfact":
        return {}
    return config.eligible.authors


def available_requests(dataset: Dataset, around: Surroundings) -> int:
    """How many requests a dataset that is sampled offers, without building or fetching them."""
    if dataset.source == "geography":
        return GEOGRAPHY_REQUESTS
    whole = around.sources.whole(dataset.source)
    if dataset.files == "whole" and whole:
        return around.sources.records(whole)
    if dataset.path is None:
        raise ValueError(f"a dataset of {dataset.source} without a file; check its origin first")
    return around.count(around.root / dataset.path)
