# What the files of rules share - checked settings, output folder, wildcard constraints, and functions
# that name inputs and resources. Jobs are described elsewhere.

import shutil

from snakemake.exceptions import WorkflowError

from modeledit import memory
from modeledit.methods import METHODS
from modeledit.settings import ELIGIBLE, ConfigError, load_settings
from modeledit.files import read_json

try:
    SETTINGS = load_settings(config, Path(workflow.basedir))
except ConfigError as error:
    raise WorkflowError(f"The configuration cannot be run.\n{error}")

OUT = f"results/{config['name']}"
RUN = f"{OUT}/{{dataset}}/{{model}}/{{method}}/trial{{trial}}"
RUN_LOG = f"logs/{config['name']}/{{dataset}}/{{model}}/{{method}}/trial{{trial}}"
LAST_ITERATION = config["stop"]["extended"]
TEXT = config["text"]
COMPUTE = config["compute"]
# GPUs of a job that runs a model. Where "auto" finds no driver, jobs must not queue for a GPU.
GPUS = {"cpu": 0, "cuda": 1, "auto": int(shutil.which("nvidia-smi") is not None)}[
    COMPUTE["device"]
]


wildcard_constraints:
    dataset="|".join(
        sorted({run.dataset for run in SETTINGS.runs} | set(config["datasets"]))
    ),
    model="|".join(sorted(SETTINGS.models)),
    method="|".join(sorted({run.method for run in SETTINGS.runs})),
    trial=r"[1-9]\d*",
    k=r"[1-9]\d*",
    table=r"[a-z_]+",
    algorithm=r"[A-Z]+",


def every_run(pattern):
    """`pattern` filled once for each run of the configuration."""
    return [
        pattern.format(dataset=r.dataset, model=r.model, method=r.method, trial=r.trial)
        for r in SETTINGS.runs
    ]


def requests_file(dataset, model, trial):
    """Requests of a trial: those that passed the model's neighbor filter, or all of them."""
    base = dataset.removesuffix(ELIGIBLE)
    if base != dataset:
        return f"{OUT}/{base}/{model}/eligible/trial{trial}.jsonl"
    return f"{OUT}/{base}/trials/trial{trial}.jsonl"


def trial_requests(wildcards):
    """Input function: the requests of the wildcards' trial."""
    return requests_file(wildcards.dataset, wildcards.model, wildcards.trial)


def previous_state(wildcards):
    """What iteration k starts from: the state of iteration k-1, or nothing at k = 1."""
    k = int(wildcards.k) - 1
    return f"{RUN}/iter{k}/state.json".format(**wildcards) if k else []


def authors_eligible(wildcards):
    """The authors' own eligible set to compare with, where the configuration names one."""
    return config["eligible"].get("compare", {}).get(wildcards.model, [])


def already_stopped(wildcards):
    """Whether the run had stopped before iteration k, as far as the files tell now."""
    state = previous_state(wildcards)
    return bool(state) and Path(state).exists() and read_json(Path(state))["stopped"]


def edit_gpus(wildcards):
    """One GPU for an iteration that edits, none for one that only passes the stop on."""
    return 0 if already_stopped(wildcards) else GPUS


def edit_memory(wildcards):
    """Memory of an iteration, in MB."""
    if already_stopped(wildcards):
        return 200
    method = METHODS[wildcards.method]
    peak = memory.editing(
        SETTINGS.models[wildcards.model],
        COMPUTE["token_budget"],
        config["trials"]["size"],
        method.n_contexts,
    )
    return peak.host_mb(bool(GPUS))


def scoring_memory(wildcards):
    """Memory of a job that runs prompts through a model, in MB."""
    peak = memory.scoring(SETTINGS.models[wildcards.model], COMPUTE["token_budget"])
    return peak.host_mb(bool(GPUS))


def covariance_memory(wildcards):
    """Memory of gathering the covariance, in MB."""
    layers = len(SETTINGS.layers(wildcards.model))
    model, tokens = SETTINGS.models[wildcards.model], TEXT["covariance_length"]
    return memory.gathering(model, layers, tokens).host_mb(bool(GPUS))


def factor_memory(wildcards):
    """Memory of the factorisation, in MB."""
    layers = len(SETTINGS.layers(wildcards.model))
    peak = memory.factorizing(SETTINGS.models[wildcards.model], layers)
    return peak.host_mb(bool(GPUS))


def preparation_memory(wildcards):
    """Memory of a model's preparation, in MB."""
    return memory.preparing(SETTINGS.models[wildcards.model]).host_mb(False)


def model_source(wildcards):
    """Where a model comes from, as its description says."""
    return SETTINGS.models[wildcards.model]["source"]


def model_source_file(wildcards):
    """What a model is prepared from: a pinned requirement file, a folder, or no file (the hub)."""
    source = model_source(wildcards)
    return source.get("requirements") or source.get("path") or []


def model_shape(wildcards):
    """Family and size of a model, as its description says."""
    model = SETTINGS.models[wildcards.model]
    return {key: model[key] for key in ("family", "depth", "width", "mlp_width")}


def covariance_factors(wildcards):
    """The covariance's factors, or nothing for ROME where it writes without them."""
    if SETTINGS.needs_covariance(wildcards.method):
        return f"{OUT}/statistics/{wildcards.model}/factors.safetensors"
    return []


def every_factor():
    """The factors of every model that some method needs them for."""
    models = {
        run.model for run in SETTINGS.runs if SETTINGS.needs_covariance(run.method)
    }
    return [f"{OUT}/statistics/{model}/factors.safetensors" for model in sorted(models)]


def unedited_answers(wildcards):
    """The unedited model's scores where specificity is judged on its own answers, else nothing."""
    if SETTINGS.switches["specificity_gt"] == "dataset":
        return []
    return f"{OUT}/{{dataset}}/{{model}}/unedited/trial{{trial}}/scores.parquet".format(
        **wildcards
    )


def edited_layers(wildcards):
    """All layers that some method edits in the model."""
    return SETTINGS.layers(wildcards.model)


def context_sets(wildcards):
    """{name: lengths} of the context templates that the model's methods need."""
    methods = [METHODS[r.method] for r in SETTINGS.runs if r.model == wildcards.model]
    return {method.context_set: method.context_lengths for method in methods}


def hyperparameters(wildcards):
    """Hyperparameters of the method's algorithm for the model."""
    algorithms = SETTINGS.models[wildcards.model]["algorithms"]
    return algorithms[METHODS[wildcards.method].algorithm]


def dataset_description(wildcards):
    """What the configuration says of a dataset."""
    return config["datasets"][wildcards.dataset]


def dataset_file(wildcards):
    """The file of a dataset, or nothing where it is built in."""
    return dataset_description(wildcards).get("path", [])


def planned_tables():
    """{dataset}.{table} for every table that the configured runs can fill."""
    methods = {}
    for run in SETTINGS.runs:
        methods.setdefault(run.dataset, set()).add(METHODS[run.method])
    names = []
    for dataset, used in methods.items():
        counts = {method.n_neighbors for method in used}
        tables = []
        if 0 in counts:
            tables += ["iterative", "iterative_all", "stopping", "stopping_all"]
        if 1 in counts:
            tables += ["neighbor", "neighbor_all"]
        if any(method.neighbor_prefixed for method in used):
            tables += ["prefix", "prefix_all"]
        if max(counts) > 1:
            tables += ["neighbor_count"]
        names += [f"{dataset}.{table}" for table in tables]
    return names


def planned_studies():
    """{dataset}.{model}.{algorithm} wherever the number of neighbors varies."""
    studies = {
        f"{r.dataset}.{r.model}.{METHODS[r.method].algorithm}": None
        for r in SETTINGS.runs
        if METHODS[r.method].n_neighbors > 1
    }
    return list(studies)


def planned_figures():
    """{dataset}.{model}.{method} for every figure."""
    runs = {f"{r.dataset}.{r.model}.{r.method}": None for r in SETTINGS.runs}
    return list(runs)


def trials_of(pattern):
    """Input function: `pattern` for all trials of the wildcards' dataset, model and method."""
    trials = range(1, config["trials"]["count"] + 1)

    def paths(wildcards):
        return expand(
            pattern, **wildcards, trial=trials, k=range(1, LAST_ITERATION + 1)
        )

    return paths


def first_trial_requests(wildcards):
    """Requests of trial 1, from which the one edit of the stages figure is taken."""
    return requests_file(wildcards.dataset, wildcards.model, 1)


def model_titles():
    """Printed name of every model."""
    return {name: model["title"] for name, model in SETTINGS.models.items()}


def small_models():
    """Printed names of the models that must not be set against the paper's numbers."""
    return sorted(m["title"] for m in SETTINGS.models.values() if not m["comparable"])
