# The paper's tables and figures and the report, from metrics, logs and scores.
# Needs: metrics.csv and what belongs to it, per-request values and logs of each run.
# Makes: tables/*.tex, *.csv and *.html, one document of all tables (pdf where LaTeX is present),
# figures/*.png and *.pdf, report.html.

FIGURE = f"{OUT}/figures/{{dataset}}.{{model}}.{{method}}"
PANEL = f"{OUT}/figures/{{dataset}}.{{model}}.{{algorithm}}"
PUBLISHED_HARDWARE = "workflow/published/hardware.csv"


rule tables:
    input:
        expand(
            f"{OUT}/tables/{{name}}.{{form}}",
            name=planned_tables(),
            form=["tex", "csv", "html"],
        ),
        f"{OUT}/tables/compiled.txt",


rule neighbor_study:
    input:
        study("neighbor_count"),


rule stage_study:
    input:
        study("stages"),


rule figures:
    input:
        planned_figures(),


rule report:
    input:
        f"{OUT}/report.html",


rule render_table:
    input:
        metrics=f"{OUT}/metrics.csv",
        differences=differences_at_hand,
        templates=templates("table.tex.j2", "table.html.j2"),
    output:
        tex=f"{OUT}/tables/{{dataset}}.{{table}}.tex",
        csv=f"{OUT}/tables/{{dataset}}.{{table}}.csv",
        html=f"{OUT}/tables/{{dataset}}.{{table}}.html",
    log:
        f"logs/{config['name']}/tables/{{dataset}}.{{table}}.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("presentation", "evaluation"),
        planned=planned_rows,
        titles=model_titles(),
        small=small_models(),
        epsilon=config["stop"]["epsilon"],
        switches=SETTINGS.switches,
    message:
        "Table {wildcards.table} of {wildcards.dataset}"
    script:
        "../../scripts/render_table.py"


rule render_hardware:
    input:
        hardware=f"{OUT}/hardware.csv",
        published=PUBLISHED_HARDWARE,
        templates=templates("frame.tex.j2"),
    output:
        tex=f"{OUT}/tables/hardware.tex",
        csv=f"{OUT}/tables/hardware.csv",
        html=f"{OUT}/tables/hardware.html",
    log:
        f"logs/{config['name']}/tables/hardware.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("presentation"),
        titles=model_titles(),
    message:
        "Table of the hardware"
    script:
        "../../scripts/render_hardware.py"


rule compile_tables:
    input:
        tables=expand(f"{OUT}/tables/{{name}}.tex", name=planned_tables()),
        templates=templates("document.tex.j2"),
    output:
        status=f"{OUT}/tables/compiled.txt",
        document=f"{OUT}/tables/tables.tex",
    log:
        f"logs/{config['name']}/tables/compile.log",
    conda:
        "../../envs/latex.yaml"
    params:
        code=code_of("presentation"),
        present=bool(shutil.which("pdflatex") or shutil.which("tectonic")),  # installing one reruns
        title=config["name"],
    message:
        "Compiling the tables (LaTeX present: {params.present})"
    script:
        "../../scripts/compile_tables.py"


rule draw_figures:
    input:
        requests=trials_of(f"{RUN}/requests.parquet"),
        edits=trials_of(f"{ITERATION}/edits.parquet"),
        first_trial=first_trial_requests,
        templates=templates("paper.mplstyle"),
    output:
        stages=f"{FIGURE}.perplexity_stages.png",
        stages_pdf=f"{FIGURE}.perplexity_stages.pdf",
        stages_record=f"{FIGURE}.perplexity_stages.json",
        underedit=f"{FIGURE}.underedit.png",
        underedit_pdf=f"{FIGURE}.underedit.pdf",
        underedit_record=f"{FIGURE}.underedit.json",
    log:
        f"logs/{config['name']}/figures/{{dataset}}.{{model}}.{{method}}.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("presentation/figures", "evaluation"),
        titles=model_titles(),
        small=small_models(),
        epsilon=config["stop"]["epsilon"],
    message:
        "Figures of {wildcards.method} on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/draw_figures.py"


rule draw_panel:
    input:
        unpack(panel_scores),
        metrics=f"{OUT}/metrics.csv",
        requests=first_trial_requests,
        unedited=f"{OUT}/{{dataset}}/{{model}}/unedited/trial1/scores.parquet",
        templates=templates("paper.mplstyle"),
    output:
        figure=f"{PANEL}.qualitative.png",
        pdf=f"{PANEL}.qualitative.pdf",
        record=f"{PANEL}.qualitative.json",
    log:
        f"logs/{config['name']}/figures/{{dataset}}.{{model}}.{{algorithm}}.qualitative.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("presentation/figures", "evaluation"),
        neighbor=panel_neighbor,
        titles=model_titles(),
        small=small_models(),
        epsilon=config["stop"]["epsilon"],
        stop_row=SETTINGS.switches["stop_row"],
    message:
        "One edit before and after {wildcards.algorithm} on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/draw_panel.py"


rule draw_algorithms:
    input:
        templates=templates("paper.mplstyle"),
    output:
        figure=f"{OUT}/figures/algorithms.png",
        pdf=f"{OUT}/figures/algorithms.pdf",
        record=f"{OUT}/figures/algorithms.json",
    log:
        f"logs/{config['name']}/figures/algorithms.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("presentation/figures", "study"),
        models=SETTINGS.models,
        epsilon=config["stop"]["epsilon"],
    message:
        "Schematic of the algorithms"
    script:
        "../../scripts/draw_algorithms.py"


rule draw_neighbor_count:
    input:
        f"{OUT}/metrics.csv",
        templates=templates("paper.mplstyle"),
    output:
        figure=f"{PANEL}.neighbor_count.png",
        pdf=f"{PANEL}.neighbor_count.pdf",
        record=f"{PANEL}.neighbor_count.json",
    log:
        f"logs/{config['name']}/figures/{{dataset}}.{{model}}.{{algorithm}}.neighbor_count.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("presentation/figures", "evaluation"),
        titles=model_titles(),
        small=small_models(),
        epsilon=config["stop"]["epsilon"],
        switches=SETTINGS.switches,
    message:
        "Number of neighbors, {wildcards.algorithm} on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/draw_neighbor_count.py"


rule draw_stages:
    input:
        f"{OUT}/metrics.csv",
        templates=templates("paper.mplstyle"),
    output:
        figure=f"{PANEL}.stages.png",
        pdf=f"{PANEL}.stages.pdf",
        record=f"{PANEL}.stages.json",
    log:
        f"logs/{config['name']}/figures/{{dataset}}.{{model}}.{{algorithm}}.stages.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("presentation/figures", "evaluation"),
        titles=model_titles(),
        small=small_models(),
        epsilon=config["stop"]["epsilon"],
        switches=SETTINGS.switches,
    message:
        "Both stages or one, {wildcards.algorithm} on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/draw_stages.py"


rule write_config:
    output:
        f"{OUT}/config.yaml",
    log:
        f"logs/{config['name']}/config.log",
    conda:
        "../../envs/paper.yaml"
    params:
        config=SETTINGS.config,
        switches=SETTINGS.switches,
        models=SETTINGS.models,
    message:
        "Writing the merged configuration beside the results"
    script:
        "../../scripts/write_config.py"


rule record_provenance:
    input:
        metrics=f"{OUT}/metrics.csv",
        requests=reported_requests,
        models=prepared_models,
        requirements="envs/requirements.txt",
    output:
        f"{OUT}/provenance.json",
    log:
        f"logs/{config['name']}/provenance.log",
    conda:
        "../../envs/editing.yaml"
    params:
        root=workflow.basedir,
    message:
        "Recording code, packages, machine and digests"
    script:
        "../../scripts/record_provenance.py"


rule render_report:
    input:
        unpack(files_of_single_edits),
        config=f"{OUT}/config.yaml",
        metrics=f"{OUT}/metrics.csv",
        claims=f"{OUT}/claims.csv",
        comparison=f"{OUT}/comparison.csv",
        intervals=f"{OUT}/intervals.csv",
        differences=f"{OUT}/differences.csv",
        hardware=f"{OUT}/hardware.csv",
        provenance=f"{OUT}/provenance.json",
        tables=expand(f"{OUT}/tables/{{name}}.html", name=planned_tables()),
        figures=planned_figures(),
        templates=templates("report.html.j2", "report.css", "report.js"),
    output:
        f"{OUT}/report.html",
    log:
        f"logs/{config['name']}/report.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("presentation", "evaluation"),
        max_edits=200,  # of each run, in the drill-down
        every_iteration=False,
    message:
        "Writing the report"
    script:
        "../../scripts/render_report.py"
