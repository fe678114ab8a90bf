# What the unedited model, k = 1 and the stop do besides what the paper measures: the block `evaluation`.
# Needs: requests of a trial, the states of its runs; edits nothing.
# Makes: beside the scores of these states generations.parquet, fluency.parquet, probes.parquet,
# probe_generations.parquet and drift.parquet, each where its part is asked for; the probes of a trial.


include: "../inputs/behavior.smk"


rule continue_prompts:
    input:
        requests=asked(STUDY.requests, "dataset", "model", "trial"),
        model=layout.MODEL,
        state=ITERATION["state"],
    output:
        FILES.observed("generations.parquet"),
    log:
        FILES.log(f"{layout.ITERATION}/generations"),
    benchmark:
        FILES.benchmark(f"{layout.ITERATION}/generations")
    priority: PRECEDENCE.observe
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=megabytes(RESOURCES.generating, "model"),
        gpu=RESOURCES.gpus,
        token_budget=token_budget,
        runtime=minutes(240),
    params:
        part=CONFIG.evaluation.generation,
        switches=SWITCHES.scoring(),
        device=COMPUTE.device,
        deterministic=COMPUTE.deterministic,
        engine=ENGINE_VERSION,
    message:
        "What {wildcards.model} says by itself after {wildcards.method}, iteration {wildcards.k}, on {wildcards.dataset},"
        " trial {wildcards.trial}"
    script:
        "../../scripts/continue_prompts.py"


use rule continue_prompts as continue_prompts_unedited with:
    input:
        requests=asked(STUDY.requests, "dataset", "model", "trial"),
        model=layout.MODEL,
    output:
        FILES.unedited_observed("generations.parquet"),
    log:
        FILES.log(f"{UNEDITED}/generations"),
    benchmark:
        FILES.benchmark(f"{UNEDITED}/generations")
    message:
        "What the unedited {wildcards.model} says by itself on {wildcards.dataset}, trial {wildcards.trial}"


use rule continue_prompts as tell_of_subjects with:
    output:
        FILES.observed("fluency.parquet"),
    log:
        FILES.log(f"{layout.ITERATION}/fluency"),
    benchmark:
        FILES.benchmark(f"{layout.ITERATION}/fluency")
    params:
        part=CONFIG.evaluation.fluency,
        switches=SWITCHES.scoring(),
        device=COMPUTE.device,
        deterministic=COMPUTE.deterministic,
        engine=ENGINE_VERSION,
    message:
        "What {wildcards.model} tells of the subjects after {wildcards.method}, iteration {wildcards.k}, on"
        " {wildcards.dataset}, trial {wildcards.trial}"


use rule tell_of_subjects as tell_of_subjects_unedited with:
    input:
        requests=asked(STUDY.requests, "dataset", "model", "trial"),
        model=layout.MODEL,
    output:
        FILES.unedited_observed("fluency.parquet"),
    log:
        FILES.log(f"{UNEDITED}/fluency"),
    benchmark:
        FILES.benchmark(f"{UNEDITED}/fluency")
    message:
        "What the unedited {wildcards.model} tells of the subjects of {wildcards.dataset}, trial {wildcards.trial}"


rule build_probes:
    input:
        requests=asked(STUDY.requests, "dataset", "model", "trial"),
        file=asked(STUDY.observed.probe_file, "dataset"),
    output:
        FILES.probes,
    log:
        FILES.log("{dataset}/{model}/probes/trial{trial}"),
    priority: PRECEDENCE.prepare
    conda:
        "../../envs/paper.yaml"
    params:
        format=probe_format,
    message:
        "Probes of the requests of {wildcards.dataset} for {wildcards.model}, trial {wildcards.trial}"
    script:
        "../../scripts/build_probes.py"


rule ask_probes:
    input:
        probes=FILES.probes,
        model=layout.MODEL,
        state=ITERATION["state"],
    output:
        scores=FILES.observed("probes.parquet"),
        generations=FILES.observed("probe_generations.parquet"),
    log:
        FILES.log(f"{layout.ITERATION}/probes"),
    benchmark:
        FILES.benchmark(f"{layout.ITERATION}/probes")
    priority: PRECEDENCE.observe
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=megabytes(RESOURCES.generating, "model"),
        gpu=RESOURCES.gpus,
        token_budget=token_budget,
        runtime=minutes(240),
    params:
        part=CONFIG.evaluation.probes,
        switches=SWITCHES.scoring(),
        device=COMPUTE.device,
        deterministic=COMPUTE.deterministic,
        engine=ENGINE_VERSION,
    message:
        "Probing {wildcards.model} after {wildcards.method}, iteration {wildcards.k}, on {wildcards.dataset}, trial"
        " {wildcards.trial}"
    script:
        "../../scripts/ask_probes.py"


use rule ask_probes as ask_probes_unedited with:
    input:
        probes=FILES.probes,
        model=layout.MODEL,
    output:
        scores=FILES.unedited_observed("probes.parquet"),
        generations=FILES.unedited_observed("probe_generations.parquet"),
    log:
        FILES.log(f"{UNEDITED}/probes"),
    benchmark:
        FILES.benchmark(f"{UNEDITED}/probes")
    message:
        "Probing the unedited {wildcards.model} on {wildcards.dataset}, trial {wildcards.trial}"


rule measure_drift:
    input:
        texts=FILES.perplexity_texts,
        model=layout.MODEL,
        state=ITERATION["state"],
    output:
        FILES.observed("drift.parquet"),
    log:
        FILES.log(f"{layout.ITERATION}/drift"),
    benchmark:
        FILES.benchmark(f"{layout.ITERATION}/drift")
    priority: PRECEDENCE.observe
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=megabytes(RESOURCES.scoring, "model"),
        gpu=RESOURCES.gpus,
        token_budget=token_budget,
        runtime=minutes(120),
    params:
        device=COMPUTE.device,
        deterministic=COMPUTE.deterministic,
        engine=ENGINE_VERSION,
    message:
        "How far {wildcards.model} drifted by {wildcards.method}, iteration {wildcards.k}, on {wildcards.dataset}, trial"
        " {wildcards.trial}"
    script:
        "../../scripts/measure_drift.py"
