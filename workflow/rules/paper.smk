# The paper's tables and figures, from the metrics alone.
# Needs: metrics.csv, per-request values and logs of each run.
# Makes: tables/*.tex and *.csv, one document of all tables (pdf where LaTeX is present), figures/*.png.

FIGURE = f"{OUT}/figures/{{dataset}}.{{model}}.{{method}}"


rule tables:
    input:
        expand(f"{OUT}/tables/{{name}}.tex", name=planned_tables()),
        expand(f"{OUT}/tables/{{name}}.csv", name=planned_tables()),
        f"{OUT}/tables/compiled.txt",


rule neighbor_study:
    input:
        expand(f"{OUT}/figures/{{study}}.neighbor_count.png", study=planned_studies()),
        [
            f"{OUT}/tables/{name}.tex"
            for name in planned_tables()
            if name.endswith("neighbor_count")
        ],


rule figures:
    input:
        expand(
            f"{OUT}/figures/{{name}}.{{figure}}.png",
            name=planned_figures(),
            figure=["perplexity_stages", "underedit"],
        ),
        rules.neighbor_study.input,


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
        status=f"{OUT}/tables/compiled.txt",
        document=f"{OUT}/tables/tables.tex",
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


rule draw_neighbor_count:
    input:
        f"{OUT}/metrics.csv",
    output:
        figure=f"{OUT}/figures/{{dataset}}.{{model}}.{{algorithm}}.neighbor_count.png",
        record=f"{OUT}/figures/{{dataset}}.{{model}}.{{algorithm}}.neighbor_count.json",
    log:
        f"logs/{config['name']}/figures/{{dataset}}.{{model}}.{{algorithm}}.neighbor_count.log",
    conda:
        "../../envs/paper.yaml"
    params:
        titles=model_titles(),
        small=small_models(),
        epsilon=config["stop"]["epsilon"],
        switches=SETTINGS.switches,
    message:
        "Number of neighbors, {wildcards.algorithm} on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/draw_neighbor_count.py"
