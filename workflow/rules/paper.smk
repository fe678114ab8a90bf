# The paper's tables and figures and the report, from metrics, logs and scores.
# Needs: metrics.csv and what belongs to it, per-request values and logs of each run.
# Makes: tables/*.tex, *.csv and *.html, one document of all tables (pdf where LaTeX is present),
# figures/*.png and *.pdf, report.html.


include: "../inputs/paper.smk"


OF_METHOD = "{dataset}.{model}.{method}"
OF_ALGORITHM = "{dataset}.{model}.{algorithm}"
OF_MODEL = "{dataset}.{model}"
OF_TABLE = "{dataset}.{table}"


# A dataset may have a model's name.
ruleorder: render_null_space > render_table


rule tables:
    input:
        [
            FILES.table(name, form)
            for name in CONTENTS.tables()
            for form in ("tex", "csv", "html", "md")
        ],
        FILES.table("compiled", "txt"),


rule neighbor_study:
    input:
        CONTENTS.study("neighbor_count"),


rule stage_study:
    input:
        CONTENTS.study("stages"),


rule telescoping_study:
    input:
        CONTENTS.study("telescoping"),


rule figures:
    input:
        figure_files(),


rule report:
    input:
        FILES.overall("report.html"),


rule render_table:
    input:
        metrics=FILES.overall("metrics.csv"),
        differences=differences_at_hand(),
        templates=templates("table.tex.j2", "table.html.j2"),
    output:
        tex=FILES.table(OF_TABLE, "tex"),
        csv=FILES.table(OF_TABLE, "csv"),
        md=FILES.table(OF_TABLE, "md"),
        html=report(
            FILES.table(OF_TABLE, "html"),
            caption="../report/table.rst",
            category="Tables",
            subcategory="{dataset}",
            labels={"table": "{table}"},
        ),
    log:
        FILES.log("tables/{dataset}.{table}"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("render_table", "presentation", "evaluation"),
        planned=asked(CONTENTS.rows, "dataset"),
        titles=SETTINGS.titles,
        small=SETTINGS.small_models,
        epsilon=CONFIG.stop.epsilon,
        switches=SWITCHES,
    message:
        "Table {wildcards.table} of {wildcards.dataset}"
    script:
        "../../scripts/render_table.py"


rule render_hardware:
    input:
        hardware=FILES.overall("hardware.csv"),
        published=project("modeledit/paper/printed/hardware.csv"),
        templates=templates("frame.tex.j2"),
    output:
        tex=FILES.table("hardware", "tex"),
        csv=FILES.table("hardware", "csv"),
        md=FILES.table("hardware", "md"),
        html=FILES.table("hardware", "html"),
    log:
        FILES.log("tables/hardware"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("render_hardware", "presentation"),
        titles=SETTINGS.titles,
    message:
        "Table of the hardware"
    script:
        "../../scripts/render_hardware.py"


rule render_null_space:
    input:
        summary=FILES.null_space_summary,
        templates=templates("frame.tex.j2"),
    output:
        tex=FILES.table("{model}.null_space", "tex"),
        csv=FILES.table("{model}.null_space", "csv"),
        md=FILES.table("{model}.null_space", "md"),
        html=report(
            FILES.table("{model}.null_space", "html"),
            caption="../report/null_space.rst",
            category="Tables",
            subcategory="{model}",
            labels={"table": "null_space"},
        ),
    log:
        FILES.log("tables/{model}.null_space"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("render_null_space", "presentation", "evaluation"),
        title=lambda wildcards: SETTINGS.titles[wildcards.model],
        small=asked(CONTENTS.small, "model"),
    message:
        "Table of the null spaces of {wildcards.model}"
    script:
        "../../scripts/render_null_space.py"


rule compile_tables:
    input:
        tables=[FILES.table(name, "tex") for name in CONTENTS.tables()],
        templates=templates("document.tex.j2"),
    output:
        status=FILES.table("compiled", "txt"),
        document=FILES.table("tables", "tex"),
    log:
        FILES.log("tables/compile"),
    conda:
        "../../envs/latex.yaml"
    params:
        code=code_of("compile_tables", "presentation"),
        present=any(map(shutil.which, ENGINES)),  # installing one reruns
        title=CONFIG.name,
    message:
        "Compiling the tables (LaTeX present: {params.present})"
    script:
        "../../scripts/compile_tables.py"


rule draw_trajectories:
    input:
        metrics=FILES.overall("metrics.csv"),
        intervals=intervals_at_hand(),
        templates=templates("paper.mplstyle"),
    output:
        figure=report(
            FILES.figure(f"{OF_MODEL}.trajectories", "png"),
            caption="../report/trajectories.rst",
            category="Figures",
            subcategory="{dataset}",
            labels={"figure": "metrics by iteration", "of": "{model}"},
        ),
        pdf=FILES.figure(f"{OF_MODEL}.trajectories", "pdf"),
        record=FILES.figure(f"{OF_MODEL}.trajectories", "json"),
    log:
        FILES.log("figures/{dataset}.{model}.trajectories"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("draw_trajectories", "presentation/figures", "evaluation"),
        titles=SETTINGS.titles,
        small=asked(CONTENTS.small, "model"),
        epsilon=CONFIG.stop.epsilon,
        switches=SWITCHES,
    message:
        "Metrics by iteration on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/draw_trajectories.py"


rule draw_figures:
    input:
        requests=trials_of(FILES.request_metrics),
        edits=trials_of(FILES.iteration_files["edits"]),
        first_trial=first_trial_requests,
        templates=templates("paper.mplstyle"),
    output:
        stages=report(
            FILES.figure(f"{OF_METHOD}.perplexity_stages", "png"),
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{dataset}",
            labels={"figure": "perplexity over the stages", "of": "{method}, {model}"},
        ),
        stages_pdf=FILES.figure(f"{OF_METHOD}.perplexity_stages", "pdf"),
        stages_record=FILES.figure(f"{OF_METHOD}.perplexity_stages", "json"),
        underedit=report(
            FILES.figure(f"{OF_METHOD}.underedit", "png"),
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{dataset}",
            labels={"figure": "UnderEdit", "of": "{method}, {model}"},
        ),
        underedit_pdf=FILES.figure(f"{OF_METHOD}.underedit", "pdf"),
        underedit_record=FILES.figure(f"{OF_METHOD}.underedit", "json"),
    log:
        FILES.log("figures/{dataset}.{model}.{method}"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("draw_figures", "presentation/figures", "evaluation"),
        titles=SETTINGS.titles,
        small=SETTINGS.small_models,
        epsilon=CONFIG.stop.epsilon,
    message:
        "Figures of {wildcards.method} on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/draw_figures.py"


rule draw_panel:
    input:
        unpack(asked(CONTENTS.panel_scores, "dataset", "model", "algorithm")),
        metrics=FILES.overall("metrics.csv"),
        requests=first_trial_requests,
        unedited=FILES.unedited_scores.replace("{trial}", "1"),
        templates=templates("paper.mplstyle"),
    output:
        figure=report(
            FILES.figure(f"{OF_ALGORITHM}.qualitative", "png"),
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{dataset}",
            labels={
                "figure": "one edit before and after",
                "of": "{algorithm}, {model}",
            },
        ),
        pdf=FILES.figure(f"{OF_ALGORITHM}.qualitative", "pdf"),
        record=FILES.figure(f"{OF_ALGORITHM}.qualitative", "json"),
    log:
        FILES.log("figures/{dataset}.{model}.{algorithm}.qualitative"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("draw_panel", "presentation/figures", "evaluation"),
        neighbor=asked(CONTENTS.panel_neighbor, "dataset", "model", "algorithm"),
        titles=SETTINGS.titles,
        small=SETTINGS.small_models,
        epsilon=CONFIG.stop.epsilon,
        stop_row=SWITCHES.stop_row,
    message:
        "One edit before and after {wildcards.algorithm} on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/draw_panel.py"


rule draw_algorithms:
    input:
        templates=templates("paper.mplstyle"),
    output:
        figure=report(
            FILES.figure("algorithms", "png"),
            caption="../report/algorithms.rst",
            category="Figures",
            subcategory="all",
            labels={"figure": "algorithms", "of": "all"},
        ),
        pdf=FILES.figure("algorithms", "pdf"),
        record=FILES.figure("algorithms", "json"),
    log:
        FILES.log("figures/algorithms"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("draw_algorithms", "presentation/figures", "study"),
        models=SETTINGS.models,
        epsilon=CONFIG.stop.epsilon,
    message:
        "Schematic of the algorithms"
    script:
        "../../scripts/draw_algorithms.py"


rule draw_neighbor_count:
    input:
        FILES.overall("metrics.csv"),
        templates=templates("paper.mplstyle"),
    output:
        figure=report(
            FILES.figure(f"{OF_ALGORITHM}.neighbor_count", "png"),
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{dataset}",
            labels={"figure": "number of neighbors", "of": "{algorithm}, {model}"},
        ),
        pdf=FILES.figure(f"{OF_ALGORITHM}.neighbor_count", "pdf"),
        record=FILES.figure(f"{OF_ALGORITHM}.neighbor_count", "json"),
    log:
        FILES.log("figures/{dataset}.{model}.{algorithm}.neighbor_count"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("draw_study", "presentation/figures", "evaluation"),
        kind="neighbor_count",
        titles=SETTINGS.titles,
        small=SETTINGS.small_models,
        epsilon=CONFIG.stop.epsilon,
        switches=SWITCHES,
    message:
        "Number of neighbors, {wildcards.algorithm} on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/draw_study.py"


rule draw_stages:
    input:
        FILES.overall("metrics.csv"),
        templates=templates("paper.mplstyle"),
    output:
        figure=report(
            FILES.figure(f"{OF_ALGORITHM}.stages", "png"),
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{dataset}",
            labels={"figure": "both stages or one", "of": "{algorithm}, {model}"},
        ),
        pdf=FILES.figure(f"{OF_ALGORITHM}.stages", "pdf"),
        record=FILES.figure(f"{OF_ALGORITHM}.stages", "json"),
    log:
        FILES.log("figures/{dataset}.{model}.{algorithm}.stages"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("draw_study", "presentation/figures", "evaluation"),
        kind="stages",
        titles=SETTINGS.titles,
        small=SETTINGS.small_models,
        epsilon=CONFIG.stop.epsilon,
        switches=SWITCHES,
    message:
        "Both stages or one, {wildcards.algorithm} on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/draw_study.py"


rule draw_null_space:
    input:
        summary=FILES.null_space_summary,
        spectra=FILES.null_space_spectra,
        templates=templates("paper.mplstyle"),
    output:
        figure=report(
            FILES.figure("{model}.null_space", "png"),
            caption="../report/null_space.rst",
            category="Figures",
            subcategory="{model}",
            labels={"figure": "null space", "of": "{model}"},
        ),
        pdf=FILES.figure("{model}.null_space", "pdf"),
        record=FILES.figure("{model}.null_space", "json"),
    log:
        FILES.log("figures/{model}.null_space"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("draw_null_space", "presentation/figures", "evaluation"),
        title=lambda wildcards: SETTINGS.titles[wildcards.model],
        small=asked(CONTENTS.small, "model"),
    message:
        "Null spaces of {wildcards.model}"
    script:
        "../../scripts/draw_null_space.py"


rule draw_telescoping:
    input:
        metrics=FILES.overall("metrics.csv"),
        edits=logs_of_alphaedit,
        templates=templates("paper.mplstyle"),
    output:
        figure=report(
            FILES.figure(f"{OF_MODEL}.telescoping", "png"),
            caption="../report/telescoping.rst",
            category="Figures",
            subcategory="{dataset}",
            labels={"figure": "iterating AlphaEdit", "of": "{model}"},
        ),
        pdf=FILES.figure(f"{OF_MODEL}.telescoping", "pdf"),
        record=FILES.figure(f"{OF_MODEL}.telescoping", "json"),
    log:
        FILES.log("figures/{dataset}.{model}.telescoping"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("draw_telescoping", "presentation/figures", "evaluation"),
        titles=SETTINGS.titles,
        small=SETTINGS.small_models,
        epsilon=CONFIG.stop.epsilon,
        switches=SWITCHES,
    message:
        "What iterating AlphaEdit comes to on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/draw_telescoping.py"


rule write_config:
    output:
        FILES.overall("config.yaml"),
    log:
        FILES.log("config"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("write_config"),
        config=asdict(CONFIG),
        switches=asdict(SWITCHES),
        models={name: asdict(model) for name, model in SETTINGS.models.items()},
    message:
        "Writing the merged configuration beside the results"
    script:
        "../../scripts/write_config.py"


rule record_provenance:
    input:
        metrics=of_runs("metrics.csv"),
        sequences=of_sequences("sequences.csv"),
        requests=STUDY.reported_requests(),
        models=STUDY.prepared_models(),
        requirements=project("envs/requirements.txt"),
    output:
        FILES.overall("provenance.json"),
    log:
        FILES.log("provenance"),
    conda:
        "../../envs/editing.yaml"
    params:
        code=code_of("record_provenance", "io"),
        root=str(PROJECT),
    message:
        "Recording code, packages, machine and digests"
    script:
        "../../scripts/record_provenance.py"


rule render_report:
    input:
        **single_edits(),
        config=FILES.overall("config.yaml"),
        metrics=of_runs("metrics.csv"),
        claims=of_runs("claims.csv"),
        comparison=of_runs("comparison.csv"),
        intervals=of_runs("intervals.csv"),
        differences=of_runs("differences.csv"),
        hardware=of_runs("hardware.csv"),
        sequences=of_sequences("sequences.csv"),
        sequence_intervals=of_sequences("sequence_intervals.csv"),
        sequence_comparison=of_sequences("sequence_comparison.csv"),
        behavior=of_behavior("behavior.csv"),
        behavior_tests=of_behavior("behavior_tests.csv"),
        provenance=FILES.overall("provenance.json"),
        compiled=FILES.table("compiled", "txt"),
        tables=[FILES.table(name, "html") for name in CONTENTS.tables()],
        figures=figure_files(),
        templates=templates("report.html.j2", "report.css", "report.js"),
    output:
        report(
            FILES.overall("report.html"),
            caption="../report/study.rst",
            category="Report",
            labels={"page": "everything in one page"},
        ),
    log:
        FILES.log("report"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("render_report", "presentation", "evaluation"),
        max_edits=200,  # of each run, in the drill-down
    message:
        "Writing the report"
    script:
        "../../scripts/render_report.py"
