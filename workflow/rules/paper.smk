# The paper's tables and figures, from the metrics alone.
# Needs: metrics.csv, per-request values and logs of each run.
# Makes: tables/*.tex and *.csv, one document of all tables (pdf where LaTeX is present), figures/*.png.

import shutil

FIGURE = f"{OUT}/figures/{{dataset}}.{{model}}.{{method}}"


def planned_tables():
    """{dataset}.{table} for every table that the configured runs can fill."""
    methods = {}
    for run in SETTINGS.runs:
        methods.setdefault(run.dataset, set()).add(
            METHODS[run.method].neighbor_assisted
        )
    names = []
    for dataset, kinds in methods.items():
        plain = ["iterative", "all_iterations"] if False in kinds else []
        names += [
            f"{dataset}.{table}" for table in plain + ["neighbor"] * (True in kinds)
        ]
    return names


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


rule tables:
    input:
        expand(f"{OUT}/tables/{{name}}.tex", name=planned_tables()),
        expand(f"{OUT}/tables/{{name}}.csv", name=planned_tables()),
        f"{OUT}/tables/compiled.txt",


rule figures:
    input:
        expand(
            f"{OUT}/figures/{{name}}.{{figure}}.png",
            name=planned_figures(),
            figure=["perplexity_stages", "underedit"],
        ),


rule render_table:
    input:
        f"{OUT}/metrics.csv",
    output:
        tex=f"{OUT}/tables/{{dataset}}.{{table}}.tex",
        csv=f"{OUT}/tables/{{dataset}}.{{table}}.csv",
    log:
        f"logs/{config['name']}/tables/{{dataset}}.{{table}}.log",
    conda:
        "../../envs/paper.yaml"
    params:
        titles=model_titles(),
        small=small_models(),
        epsilon=config["stop"]["epsilon"],
        switches=SETTINGS.switches,
    message:
        "Table {wildcards.table} of {wildcards.dataset}"
    script:
        "../../scripts/render_table.py"


rule compile_tables:
    input:
        expand(f"{OUT}/tables/{{name}}.tex", name=planned_tables()),
    output:
        f"{OUT}/tables/compiled.txt",
    log:
        f"logs/{config['name']}/tables/compile.log",
    conda:
        "../../envs/latex.yaml"
    params:
        present=bool(shutil.which("pdflatex") or shutil.which("tectonic")),  # installing one reruns
        title=config["name"],
    message:
        "Compiling the tables (LaTeX present: {params.present})"
    script:
        "../../scripts/compile_tables.py"


rule draw_figures:
    input:
        requests=trials_of(f"{RUN}/requests.parquet"),
        edits=trials_of(f"{RUN}/iter{{k}}/edits.parquet"),
        first_trial=first_trial_requests,
    output:
        stages=f"{FIGURE}.perplexity_stages.png",
        stages_record=f"{FIGURE}.perplexity_stages.json",
        underedit=f"{FIGURE}.underedit.png",
        underedit_record=f"{FIGURE}.underedit.json",
    log:
        f"logs/{config['name']}/figures/{{dataset}}.{{model}}.{{method}}.log",
    conda:
        "../../envs/paper.yaml"
    params:
        titles=model_titles(),
        small=small_models(),
        epsilon=config["stop"]["epsilon"],
    message:
        "Figures of {wildcards.method} on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/draw_figures.py"
