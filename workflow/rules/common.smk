# What the files of rules share - checked settings, output folder, wildcard constraints, and functions
# that name inputs and resources. Jobs are described elsewhere.

import re
import shutil

from snakemake.exceptions import WorkflowError

from modeledit.planning import memory
from modeledit.study import layout
from modeledit.study.methods import METHODS
from modeledit.planning.preflight import longest_article
from modeledit.study.config import ELIGIBLE, ConfigError, load_settings
from modeledit.io.files import read_json
from modeledit.io.provenance import code_digest

try:
    SETTINGS = load_settings(config, Path(workflow.basedir))
except ConfigError as error:
    raise WorkflowError(f"The configuration cannot be run.\n{error}")

OUT = f"results/{config['name']}"
RUN = f"{OUT}/{layout.RUN}"
ITERATION = f"{OUT}/{layout.ITERATION}"
RUN_LOG = f"logs/{config['name']}/{layout.RUN}"
TEXT = config["text"]
COVARIANCE = config["covariance"]
# Sorted, because Snakemake compares parameters with the order of their keys, which is that of the files.
COMPUTE = dict(sorted(config["compute"].items()))
# GPUs of a job that runs a model. Where "auto" finds no driver, jobs must not queue for a GPU.
GPUS = {"cpu": 0, "cuda": 1, "auto": int(shutil.which("nvidia-smi") is not None)}[
    COMPUTE["device"]
]
# One CPU thread gives the same bits every time: there the switch decides nothing and reruns nothing.
if not GPUS and COMPUTE["threads"] == 1:
    COMPUTE = COMPUTE | {"deterministic": False}
# The Snakemake processes around a job's own: two on a cluster, 170 MB each.
SNAKEMAKE_MB = 400


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


def code_of(*packages):
    """A digest of packages of the library, for jobs without a model; new code then makes new results."""
    return code_digest(Path(workflow.basedir) / "modeledit", packages)


def templates(*names):
    """Templates that a rule fills in; what is edited there is rendered anew."""
    return [f"workflow/templates/{name}" for name in names]


def every_run(pattern):
    """`pattern` filled once for each run of the configuration."""
    return [
        pattern.format(dataset=r.dataset, model=r.model, method=r.method, trial=r.trial)
        for r in SETTINGS.runs
    ]


def one_of(names):
    """A wildcard's constraint: one of `names`, or nothing at all where there are none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


def last_iteration(wildcards):
    """The last iteration that a run of the wildcards' dataset, model and method may have."""
    return stop_rule(wildcards)["extended"]


def stop_rule(wildcards):
    """When the runs of the wildcards' dataset, model and method stop."""
    return SETTINGS.stop(wildcards.dataset, wildcards.model, wildcards.method)


def there(paths):
    """Of `paths` those that exist, where a partial study takes what is there; else all of them."""
    return [path for path in paths if not config["partial"] or Path(path).exists()]


def iterations(run):
    """Iterations of a run: all that it may have; of a partial study those that are there."""
    ks = range(1, last_iteration(run) + 1)
    scores = f"{ITERATION}/scores.parquet"
    return [k for k in ks if there([scores.format(**vars(run), k=k)])]


def every_iteration(pattern):
    """Input function: `pattern` for all iterations k of the wildcards' run."""

    def paths(wildcards):
        return expand(pattern, **wildcards, k=iterations(wildcards))

    return paths


def reported_runs():
    """Runs that take part in tables, figures and report: of a partial study those of which scores
    or metrics are there. Where none is, metrics.csv must be, and is taken as it is."""
    found = [
        run
        for run in SETTINGS.runs
        if there([f"{RUN}/metrics.csv".format(**vars(run))]) or iterations(run)
    ]
    return found or list(SETTINGS.runs)


def reported(pattern):
    """Input function: `pattern` for each run that is reported."""

    def paths(wildcards):
        return [pattern.format(**vars(run)) for run in reported_runs()]

    return paths


def reported_iterations(pattern):
    """Input function: `pattern` for all iterations of each run that is reported."""

    def paths(wildcards):
        return there(
            pattern.format(**vars(run), k=k)
            for run in reported_runs()
            for k in iterations(run)
        )

    return paths


def differences_at_hand(wildcards):
    """The paired tests; nothing where a partial study has no values of single requests."""
    path = f"{OUT}/differences.csv"
    values = [f"{RUN}/requests.parquet".format(**vars(run)) for run in reported_runs()]
    return (
        path if there([path, *values]) or any(map(iterations, reported_runs())) else []
    )


def requests_of_run(run):
    """Requests of a run's trial."""
    return requests_file(run.dataset, run.model, run.trial)


def reported_requests(wildcards):
    """Requests of all runs that are reported, each file once."""
    return there(sorted({requests_of_run(run) for run in reported_runs()}))


def prepared_models(wildcards):
    """Folders of the models of all runs that are reported."""
    return there(sorted({f"resources/models/{run.model}" for run in reported_runs()}))


def files_of_single_edits(wildcards):
    """What the report shows single edits from: four files of each run, in the order of the runs."""
    files = {"values": [], "requests": [], "contexts": [], "unedited": []}
    for run in reported_runs():
        place = vars(run)
        paths = {
            "requests": requests_of_run(run),
            "contexts": f"{OUT}/statistics/{{model}}/contexts.json".format(**place),
            "unedited": f"{OUT}/{{dataset}}/{{model}}/unedited/trial{{trial}}/scores.parquet".format(
                **place
            ),
        }
        if len(there(paths.values())) == len(paths) and iterations(run):
            paths["values"] = f"{RUN}/requests.parquet".format(**place)
            for name, path in paths.items():
                files[name].append(path)
    return files


def requests_file(dataset, model, trial):
    """Requests of a trial: those that passed the model's neighbor filter, or all of them."""
    base = dataset.removesuffix(ELIGIBLE)
    if SETTINGS.authors_set(dataset, model):
        return f"{OUT}/{base}/{model}/eligible/authors.jsonl"
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


def previous_log(name):
    """Input function: a file of iteration k-1 that a method which repeats one stage reads."""

    def path(wildcards):
        k = int(wildcards.k) - 1
        if not k or METHODS[wildcards.method].repeats == "both":
            return []
        return f"{RUN}/iter{k}/{name}".format(**wildcards)

    return path


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


def edit_minutes(wildcards, attempt):
    """Half a day for an iteration that edits, minutes for one that only passes the stop on."""
    return 10 if already_stopped(wildcards) else 720 * attempt


def minutes(count):
    """Resource function: `count` minutes at the first attempt, as much again at each further one."""

    def runtime(wildcards, attempt):
        return count * attempt

    return runtime


def token_budget(wildcards, attempt):
    """Tokens at once: as configured, and from the third attempt on half of those before.

    The first retry changes memory alone, so that a job which was cancelled, or lost its node,
    computes the same numbers: to the bit on the same model of CPU.
    """
    return max(16, COMPUTE["token_budget"] >> max(0, attempt - 2))


def host_memory(peak, attempt, gpu=bool(GPUS)):
    """What a job asks for, in MB: its peak, the Snakemake that runs it, and more at each attempt."""
    return attempt * (peak.host_mb(gpu) + SNAKEMAKE_MB)


def edit_memory(wildcards, attempt):
    """Memory of an iteration, in MB."""
    if already_stopped(wildcards):
        return attempt * (SNAKEMAKE_MB + 200)
    method = METHODS[wildcards.method]
    peak = memory.editing(
        SETTINGS.models[wildcards.model],
        token_budget(wildcards, attempt),
        SETTINGS.most_requests(wildcards.dataset, wildcards.model),
        method.n_contexts,
    )
    return host_memory(peak, attempt)


def scoring_memory(wildcards, attempt):
    """Memory of a job that runs prompts through a model, in MB."""
    model = SETTINGS.models[wildcards.model]
    return host_memory(memory.scoring(model, token_budget(wildcards, attempt)), attempt)


def covariance_memory(wildcards, attempt):
    """Memory of gathering the covariance, in MB."""
    layers = len(SETTINGS.layers(wildcards.model))
    model, tokens = SETTINGS.models[wildcards.model], longest_article(SETTINGS)
    return host_memory(memory.gathering(model, layers, tokens), attempt)


def factor_memory(wildcards, attempt):
    """Memory of the factorisation, in MB."""
    layers = len(SETTINGS.layers(wildcards.model))
    peak = memory.factorizing(SETTINGS.models[wildcards.model], layers)
    return host_memory(peak, attempt)


def preparation_memory(wildcards, attempt):
    """Memory of a model's preparation, in MB."""
    peak = memory.preparing(SETTINGS.models[wildcards.model])
    return host_memory(peak, attempt, gpu=False)


def model_source(wildcards):
    """Where a model comes from, as its description says."""
    return SETTINGS.models[wildcards.model]["source"]


def model_source_file(wildcards):
    """What a model is prepared from: a pinned requirement file, a folder, or no file (the hub)."""
    source = model_source(wildcards)
    return source.get("requirements") or source.get("path") or []


def model_access(wildcards):
    """The early word that a gated model may be fetched; nothing for others."""
    if model_source(wildcards).get("gated"):
        return f"resources/access/{wildcards.model}.txt"
    return []


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


def covariance_text(wildcards):
    """The texts behind the covariance: the excerpt's articles, or parts of a Wikipedia dump."""
    if COVARIANCE["source"] == "embedded":
        return [f"{OUT}/text/covariance.jsonl"]
    shards = SETTINGS.sources.shards()
    if COVARIANCE["source"] == "fast":
        shards = [SETTINGS.sources.one_shard(config["seed"])]
    return [downloaded(shard.name) for shard in shards]


def published_covariances(wildcards):
    """The authors' files of the covariances of all edited layers of a model, in order."""
    return [
        downloaded(SETTINGS.sources.statistics(wildcards.model, layer).name)
        for layer in SETTINGS.layers(wildcards.model)
    ]


def covariance_recipe(wildcards):
    """What a covariance is made of, as its file's metadata says it; the model's digest is added."""
    kind, source = COVARIANCE["source"], model_source(wildcards)
    articles = {"embedded": TEXT["covariance_articles"], "fast": "few"}
    lengths = {"embedded": TEXT["covariance_length"], "authors": None}
    dumps = {
        "embedded": "gensim-excerpt",
        "authors": SETTINGS.sources.provenance("statistics"),
    }
    dump = f"{SETTINGS.sources.provenance('wikipedia')}/{SETTINGS.sources.dump}"
    return {
        "source": kind,
        "dump": dumps.get(kind, dump),
        "articles": str(articles.get(kind, COVARIANCE["articles"])),
        "max_length": str(lengths.get(kind, COVARIANCE["length"]) or "context"),
        "seed": "1" if kind == "authors" else str(config["seed"]),
        "dtype": "float32" if kind == "authors" else "float64",
        "layers": " ".join(str(layer) for layer in SETTINGS.layers(wildcards.model)),
        "revision": source.get("revision", ""),
    }


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
    dataset = dataset_description(wildcards)
    if "files" in dataset:
        return downloaded(SETTINGS.sources.whole(dataset["source"]))
    return dataset.get("path", [])


def downloaded(name):
    """Where a published file lies once it was fetched."""
    return f"resources/downloads/{name}"


def downloads():
    """{name: source} of every published file that this configuration could ask for."""
    sources, named = SETTINGS.sources, []
    if COVARIANCE["source"] == "authors":
        named = [
            sources.statistics(model, layer)
            for model in SETTINGS.models
            for layer in SETTINGS.layers(model)
        ]
    elif COVARIANCE["source"] in ("fast", "recompute"):
        named = sources.shards()
    return sources.files | {source.name: source for source in named}


def download_source(wildcards):
    """Where a published file lies and what its sha256 is."""
    return vars(downloads()[wildcards.file])


def published_trials():
    """The datasets whose trials the authors published."""
    return [
        name for name, d in config["datasets"].items() if d.get("files") == "authors"
    ]


def dataset_kind(wildcards):
    """What kind of records a dataset has."""
    return dataset_description(wildcards)["source"]


def published_trial(wildcards):
    """The file of one of the authors' trials."""
    names = SETTINGS.sources.trials(dataset_kind(wildcards))
    return downloaded(names[int(wildcards.trial) - 1])


def published_eligible(wildcards):
    """The file of the authors' eligible requests for a model."""
    dataset = wildcards.dataset + ELIGIBLE
    return downloaded(SETTINGS.authors_set(dataset, wildcards.model))


def every_trial_file():
    """The requests of all trials, as far as no model is needed to choose them."""
    files = {}
    for run in SETTINGS.runs:
        base = run.dataset.removesuffix(ELIGIBLE)
        taken = SETTINGS.authors_set(run.dataset, run.model)
        files[requests_file(run.dataset if taken else base, run.model, run.trial)] = (
            None
        )
    return list(files)


def perplexity_file(wildcards):
    """The published utterances of ME-PPL, or nothing where the excerpt gives them."""
    if TEXT["perplexity"] == "excerpt":
        return []
    return downloaded(SETTINGS.sources.perplexity)


def planned_tables():
    """{dataset}.{table} for every table that the configured runs can fill."""
    methods = {}
    for run in SETTINGS.runs:
        methods.setdefault(run.dataset, set()).add(METHODS[run.method])
    names = []
    for dataset, used in methods.items():
        counts = {method.n_neighbors for method in used if method.repeats == "both"}
        tables = []
        if 0 in counts:
            tables += ["iterative", "iterative_all", "stopping", "stopping_all"]
        if 1 in counts:
            tables += ["neighbor", "neighbor_all"]
        if any(method.neighbor_prefixed for method in used):
            tables += ["prefix", "prefix_all"]
        if max(counts, default=0) > 1:
            tables += ["neighbor_count"]
        if any(method.repeats != "both" for method in used):
            tables += ["stages"]
        names += [f"{dataset}.{table}" for table in tables]
    used = [
        f"{OUT}/hardware.csv",
        *reported_iterations(f"{ITERATION}/hardware.json")(None),
    ]
    return [*names, *(["hardware"] if there(used) else [])]


def planned_rows(wildcards):
    """(model, method) of every run on the wildcards' dataset."""
    runs = [r for r in SETTINGS.runs if r.dataset == wildcards.dataset]
    return list(dict.fromkeys((run.model, run.method) for run in runs))


def studies_with(chosen):
    """{dataset}.{model}.{algorithm} wherever some method is one of the `chosen`."""
    studies = {
        f"{r.dataset}.{r.model}.{METHODS[r.method].algorithm}": None
        for r in SETTINGS.runs
        if chosen(METHODS[r.method])
    }
    return list(studies)


def planned_studies():
    """{study}.{figure} of the number of neighbors, and of the stages, wherever they vary."""
    return [
        *(f"{s}.neighbor_count" for s in studies_with(lambda m: m.n_neighbors > 1)),
        *(f"{s}.stages" for s in studies_with(lambda m: m.repeats != "both")),
    ]


def study(kind):
    """The figures and tables of one kind of study: "neighbor_count" or "stages"."""
    figures = [f"figures/{name}.png" for name in planned_studies()]
    tables = [f"tables/{name}.tex" for name in planned_tables()]
    return [f"{OUT}/{p}" for p in figures + tables if Path(p).stem.endswith(f".{kind}")]


def planned_figures():
    """Every figure, as PNG: of each method, of each algorithm, of each study, and the schematic."""
    methods, algorithms = {}, {}
    for run in reported_runs():
        if run.trial == 1 and iterations(run) and there([requests_of_run(run)]):
            methods[f"{run.dataset}.{run.model}.{run.method}"] = None
            if METHODS[run.method].repeats == "both":
                algorithm = METHODS[run.method].algorithm
                algorithms[f"{run.dataset}.{run.model}.{algorithm}"] = None
    names = ["algorithms"]
    names += [
        f"{name}.{kind}"
        for name in methods
        for kind in ("perplexity_stages", "underedit")
    ]
    names += [f"{name}.qualitative" for name in algorithms]
    names += planned_studies()
    return [f"{OUT}/figures/{name}.png" for name in names]


def runs_of(dataset, model):
    """{method: run} of trial 1, of those that are reported."""
    return {
        run.method: run
        for run in reported_runs()
        if (run.dataset, run.model, run.trial) == (dataset, model, 1)
    }


def panel_neighbor(wildcards):
    """The neighbor-assisted method that the panel sets beside the plain algorithm, or nothing."""
    found = runs_of(wildcards.dataset, wildcards.model)
    names = [f"{prefix}_{wildcards.algorithm}" for prefix in ("NA", "NAP")]
    return next((name for name in names if name in found), None)


def panel_scores(wildcards):
    """Scores of all iterations of the plain algorithm and of the neighbor-assisted method."""
    found = runs_of(wildcards.dataset, wildcards.model)
    chosen = {"plain": wildcards.algorithm, "neighbor": panel_neighbor(wildcards)}
    return {
        key: [
            f"{RUN}/iter{k}/scores.parquet".format(**vars(found[method]))
            for k in iterations(found[method])
        ]
        for key, method in chosen.items()
        if method in found
    }


def trials_of(pattern):
    """Input function: `pattern` for all trials of the wildcards' dataset, model and method."""

    def paths(wildcards):
        place = (wildcards.dataset, wildcards.model, wildcards.method)
        runs = [r for r in reported_runs() if (r.dataset, r.model, r.method) == place]
        if "{k}" not in pattern:
            return [pattern.format(**vars(run)) for run in runs]
        return [
            pattern.format(**vars(run), k=k) for run in runs for k in iterations(run)
        ]

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
