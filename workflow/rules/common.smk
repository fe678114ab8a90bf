# What every rule file shares: the checked settings, the output folder, wildcard constraints, and the
# functions that name inputs. No rules here.

from snakemake.exceptions import WorkflowError

from modeledit.methods import METHODS
from modeledit.settings import ELIGIBLE, ConfigError, load_settings
from modeledit.state import read_json

try:
    SETTINGS = load_settings(config, Path(workflow.basedir))
except ConfigError as error:
    raise WorkflowError(f"The configuration cannot be run.\n{error}")

OUT = f"results/{config['name']}"
RUN = f"{OUT}/{{dataset}}/{{model}}/{{method}}/trial{{trial}}"
LAST_ITERATION = config["stop"]["extended"]
TEXT = config["text"]
COMPUTE = config["compute"]


wildcard_constraints:
    dataset="|".join(
        sorted({run.dataset for run in SETTINGS.runs} | set(config["datasets"]))
    ),
    model="|".join(sorted(SETTINGS.models)),
    method="|".join(sorted({run.method for run in SETTINGS.runs})),
    trial=r"[1-9]\d*",
    k=r"[1-9]\d*",
    table=r"[a-z_]+",


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


def already_stopped(wildcards):
    """Whether the run had stopped before iteration k, as far as the files tell now."""
    state = previous_state(wildcards)
    return bool(state) and Path(state).exists() and read_json(Path(state))["stopped"]


def edit_gpus(wildcards):
    """One GPU for an iteration that edits, none for one that only passes the stop on."""
    return 0 if COMPUTE["device"] == "cpu" or already_stopped(wildcards) else 1


def edit_memory(wildcards):
    """Memory of an iteration, in MB."""
    return 200 if already_stopped(wildcards) else model_memory(wildcards)


def model_memory(wildcards):
    """Memory of a job that holds a model in float32, in MB: parameters, covariances, activations."""
    size = SETTINGS.models[wildcards.model]
    parameters = size["depth"] * (
        4 * size["width"] ** 2 + 3 * size["width"] * size["mlp_width"]
    )
    covariances = 2 * 8 * len(SETTINGS.layers(wildcards.model)) * size["mlp_width"] ** 2
    activations = (
        48
        * COMPUTE["token_budget"]
        * size["depth"]
        * (size["width"] + size["mlp_width"])
    )
    return int(800 + (5 * parameters + covariances + activations) / 1e6)
