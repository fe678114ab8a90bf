# From what was observed of the unedited model, of k = 1 and of the stop to what it says, writes and keeps.
# Needs: requests of a trial, scores and the last state of a run, the raw files of its states that were asked for.
# Makes: values of each request of a run; of all runs behavior.csv and behavior_tests.csv; a table for each dataset,
# a figure for each of its models.


include: "../inputs/behavior_results.smk"


ruleorder: render_behavior > render_table


rule behavior:
    input:
        of_behavior("behavior.csv"),
        of_behavior("behavior_tests.csv"),


rule evaluate_behavior:
    input:
        unpack(observed_files),
        requests=asked(STUDY.requests, "dataset", "model", "trial"),
        probes=FILES.probes if STUDY.observed.asks("probes.parquet") else [],
        references=reference_texts(),
        judgements=judgements_of_run,
        unedited=FILES.unedited_scores,
        scores=every_iteration("scores"),
        state=last_state,
    output:
        FILES.behavior("behavior.parquet"),
    log:
        FILES.log(f"{layout.RUN}/behavior"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("evaluate_behavior", "evaluation", "data"),
    message:
        "What {wildcards.model} says after {wildcards.method} on {wildcards.dataset}, trial {wildcards.trial}, in numbers"
    script:
        "../../scripts/evaluate_behavior.py"


rule aggregate_behavior:
    input:
        values_of_runs(),
    output:
        behavior=FILES.overall("behavior.csv"),
        tests=FILES.overall("behavior_tests.csv"),
    log:
        FILES.log("behavior"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("aggregate_behavior", "evaluation"),
        seed=CONFIG.seed,
    message:
        "Gathering what all models say, with intervals and paired tests over requests"
    script:
        "../../scripts/aggregate_behavior.py"


rule render_behavior:
    input:
        behavior=FILES.overall("behavior.csv"),
        tests=FILES.overall("behavior_tests.csv"),
        templates=templates("frame.tex.j2"),
    output:
        tex=FILES.table("{dataset}.behavior", "tex"),
        csv=FILES.table("{dataset}.behavior", "csv"),
        md=FILES.table("{dataset}.behavior", "md"),
        html=report(
            FILES.table("{dataset}.behavior", "html"),
            caption="../report/behavior.rst",
            category="Tables",
            subcategory="{dataset}",
            labels={"table": "behavior"},
        ),
    log:
        FILES.log("tables/{dataset}.behavior"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("render_behavior", "presentation", "evaluation"),
        titles=SETTINGS.titles,
        small=SETTINGS.small_models,
    message:
        "Table of what models say on {wildcards.dataset}"
    script:
        "../../scripts/render_behavior.py"


rule draw_behavior:
    input:
        behavior=FILES.overall("behavior.csv"),
        templates=templates("paper.mplstyle"),
    output:
        figure=report(
            FILES.figure("{dataset}.{model}.behavior", "png"),
            caption="../report/behavior.rst",
            category="Figures",
            subcategory="{dataset}",
            labels={"figure": "what models say", "of": "{model}"},
        ),
        pdf=FILES.figure("{dataset}.{model}.behavior", "pdf"),
        record=FILES.figure("{dataset}.{model}.behavior", "json"),
    log:
        FILES.log("figures/{dataset}.{model}.behavior"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("draw_behavior", "presentation/figures", "evaluation"),
        titles=SETTINGS.titles,
        small=asked(CONTENTS.small, "model"),
    message:
        "What {wildcards.model} says after editing, on {wildcards.dataset}"
    script:
        "../../scripts/draw_behavior.py"
