# Facts of one's own, the block `facts`: what the edit of a user's file did, on one page.
# Needs: the run's requests, scores and states; the model that it edited.
# Makes: facts.html, facts.txt and facts.csv; the panel, facts that the unedited model knows; on request the edited
# model in a folder of the user's.


include: "../inputs/own_facts.smk"


rule own_facts:
    input:
        FILES.overall("facts.html"),
        FILES.overall("facts.txt"),
        FILES.overall("facts_export.txt") if FACTS.export else [],


rule choose_panel:
    input:
        model=layout.MODEL,
    output:
        FILES.panel,
    log:
        FILES.log("statistics/{model}/panel"),
    priority: PRECEDENCE.observe
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=megabytes(RESOURCES.scoring, "model"),
        gpu=RESOURCES.gpus,
        token_budget=token_budget,
        runtime=minutes(30),
    params:
        device=COMPUTE.device,
        deterministic=COMPUTE.deterministic,
        engine=ENGINE_VERSION,
    message:
        "Looking which facts of the panel {wildcards.model} knows"
    script:
        "../../scripts/choose_panel.py"


rule ask_panel:
    input:
        panel=FILES.panel,
        model=layout.MODEL,
        state=ITERATION["state"],
    output:
        FILES.observed("panel.parquet"),
    log:
        FILES.log(f"{layout.ITERATION}/panel"),
    priority: PRECEDENCE.observe
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=megabytes(RESOURCES.scoring, "model"),
        gpu=RESOURCES.gpus,
        token_budget=token_budget,
        runtime=minutes(30),
    params:
        device=COMPUTE.device,
        deterministic=COMPUTE.deterministic,
        engine=ENGINE_VERSION,
    message:
        "Asking {wildcards.model} the facts of the panel after {wildcards.method}"
    script:
        "../../scripts/ask_panel.py"


rule show_own_facts:
    input:
        facts=STUDY.dataset_file(layout.DATASET_OF_FACTS),
        trial=unfiltered(FILES.trial),
        requests=STUDY.requests_of(RUN_OF_FACTS),
        verdicts=unfiltered(f"{FILES.eligible}/trial{{trial}}.verdicts.csv"),
        unedited=of_facts(FILES.unedited_scores),
        scores=all_of_facts("scores"),
        states=all_of_facts("state"),
        panel=of_facts(FILES.panel),
        panel_after=of_facts(FILES.observed("panel.parquet"), k=LAST),
        templates=templates("own_facts.html.j2", "own_facts.css"),
    output:
        page=report(
            FILES.overall("facts.html"),
            caption="../report/own_facts.rst",
            category="Report",
            labels={"page": "facts of one's own"},
        ),
        text=FILES.overall("facts.txt"),
        numbers=FILES.overall("facts.csv"),
    log:
        FILES.log("facts"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("show_own_facts", "presentation", "data"),
        study=Study(
            model=SETTINGS.titles[FACTS.model],
            method=FACTS.method,
            epsilon=CONFIG.stop.epsilon,
            small=not SETTINGS.models[FACTS.model].comparable,
        ),
    message:
        "Writing what became of the facts"
    script:
        "../../scripts/show_own_facts.py"


rule copy_export:
    input:
        of_facts(FILES.overall(f"export/{layout.ITERATION}"), k=LAST),
    output:
        FILES.overall("facts_export.txt"),
    log:
        FILES.log("facts_export"),
    conda:
        "../../envs/paper.yaml"
    params:
        folder=FACTS.export,
    message:
        "Copying the edited model to {params.folder}"
    script:
        "../../scripts/copy_export.py"
