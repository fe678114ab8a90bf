# The static chain of one run: unedited scores, then iterations 1..K.
# Needs: requests of the trial, contexts, covariance, the state of the iteration before.
# Makes: per iteration state.json, edited and target matrices, keys, the per-request log, raw scores,
# and what the job ran on.
# An iteration after the stop only passes it on: no torch, no GPU, milliseconds.


include: "../inputs/editing.smk"


ITERATION = FILES.iteration_files

# Raise by hand when the numbers that an edit makes change; comments then rerun nothing.
# 6: products with frozen weights by oneDNN on a CPU (float32 targets move by 1e-6). 7: residuals in
# the logs, keys of the edits.
ENGINE_VERSION = 7


rule score_unedited:
    input:
        requests=asked(STUDY.requests, "dataset", "model", "trial"),
        texts=FILES.perplexity_texts,
        model=layout.MODEL,
    output:
        FILES.unedited_scores,
    log:
        FILES.log("{dataset}/{model}/unedited/trial{trial}"),
    benchmark:
        FILES.benchmark("{dataset}/{model}/unedited/trial{trial}")
    priority: PRECEDENCE.unedited
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=megabytes(RESOURCES.scoring, "model"),
        gpu=RESOURCES.gpus,
        token_budget=token_budget,
        runtime=minutes(120),
    params:
        switches=SWITCHES.scoring(),
        device=COMPUTE.device,
        deterministic=COMPUTE.deterministic,
        engine=ENGINE_VERSION,
    message:
        "Scoring the unedited {wildcards.model} on {wildcards.dataset}, trial {wildcards.trial}"
    script:
        "../../scripts/score_unedited.py"


rule edit:
    input:
        requests=asked(STUDY.requests, "dataset", "model", "trial"),
        texts=FILES.perplexity_texts,
        model=layout.MODEL,
        contexts=FILES.contexts,
        factors=asked(STUDY.covariance_factors, "model", "method"),
        null_spaces=asked(STUDY.null_spaces, "model", "method"),
        unedited=asked(STUDY.own_answers, "dataset", "model", "trial"),
        previous=previous("state"),
        earlier_keys=keys_in_run,
        previous_targets=repeated("targets"),
        previous_edits=repeated("edits"),
    output:
        **ITERATION,
    log:
        FILES.log(layout.ITERATION),
    benchmark:
        FILES.benchmark(layout.ITERATION)
    priority: precedence_of_edit
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=edit_memory,
        gpu=edit_gpus,
        token_budget=token_budget,
        runtime=edit_minutes,
    params:
        hyper=asked(STUDY.hyperparameters, "model", "method"),
        switches=SWITCHES.editing(),
        stop=asked(SETTINGS.stop, "dataset", "model", "method"),
        compute=COMPUTE,
        engine=ENGINE_VERSION,
    message:
        "{wildcards.method} iteration {wildcards.k} on {wildcards.dataset}, {wildcards.model}, trial {wildcards.trial}"
    script:
        "../../scripts/edit.py"


# Asked for by name: snakemake results/{name}/export/{dataset}/{model}/{method}/trial1/iter10
rule export_model:
    input:
        model=layout.MODEL,
        state=ITERATION["state"],
    output:
        directory(FILES.overall(f"export/{layout.ITERATION}")),
    log:
        FILES.log(f"export/{layout.ITERATION}"),
    conda:
        "../../envs/editing.yaml"
    resources:
        mem_mb=megabytes(RESOURCES.preparing, "model"),
        runtime=minutes(60),
    message:
        "Exporting {wildcards.model} as {wildcards.method} left it after iteration {wildcards.k}"
    script:
        "../../scripts/export_model.py"
