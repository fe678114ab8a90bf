# The static chain of one run: unedited scores, then iterations 1..K.
# Needs: requests of the trial, contexts, covariance, the state of the iteration before.
# Makes: per iteration state.json, edited and target matrices, the per-request log, raw scores,
# and what the job ran on.
# An iteration after the stop only passes it on: no torch, no GPU, milliseconds.

# What decides the numbers of the unedited scores, and of an edit.
SCORING = {
    name: SETTINGS.switches[name]
    for name in ("eval_positions", "competitor", "specificity_gt", "zsre_locality")
}
EDITING = SCORING | {
    name: SETTINGS.switches[name]
    for name in (
        "target_tokenization",
        "neighbor_weight",
        "neighbor_length",
        "nap_prefixes",
        "rome_covariance",
        "perplexity",
    )
}

# Raise by hand when the numbers that an edit makes change; comments then rerun nothing.
# 4: labels in front of a subject, a head of few rows, collapsed iterations, empty own answers.
ENGINE_VERSION = 4


rule score_unedited:
    input:
        requests=trial_requests,
        texts=f"{OUT}/text/perplexity.jsonl",
        model="resources/models/{model}",
    output:
        f"{OUT}/{{dataset}}/{{model}}/unedited/trial{{trial}}/scores.parquet",
    log:
        f"logs/{config['name']}/{{dataset}}/{{model}}/unedited/trial{{trial}}.log",
    benchmark:
        f"logs/{config['name']}/{{dataset}}/{{model}}/unedited/trial{{trial}}.benchmark.tsv"
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE["threads"]
    resources:
        mem_mb=scoring_memory,
        gpu=GPUS,
        token_budget=token_budget,
        runtime=minutes(120),
    params:
        switches=SCORING,
        compute=COMPUTE,
        engine=ENGINE_VERSION,
    message:
        "Scoring the unedited {wildcards.model} on {wildcards.dataset}, trial {wildcards.trial}"
    script:
        "../../scripts/score_unedited.py"


rule edit:
    input:
        requests=trial_requests,
        texts=f"{OUT}/text/perplexity.jsonl",
        model="resources/models/{model}",
        contexts=f"{OUT}/statistics/{{model}}/contexts.json",
        factors=covariance_factors,
        unedited=unedited_answers,
        previous=previous_state,
        previous_targets=previous_log("targets.safetensors"),
        previous_edits=previous_log("edits.parquet"),
    output:
        state=f"{ITERATION}/state.json",
        edited=f"{ITERATION}/edited.safetensors",
        targets=f"{ITERATION}/targets.safetensors",
        edits=f"{ITERATION}/edits.parquet",
        scores=f"{ITERATION}/scores.parquet",
        hardware=f"{ITERATION}/hardware.json",
    log:
        f"{RUN_LOG}/iter{{k}}.log",
    benchmark:
        f"{RUN_LOG}/iter{{k}}.benchmark.tsv"
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE["threads"]
    resources:
        mem_mb=edit_memory,
        gpu=edit_gpus,
        token_budget=token_budget,
        runtime=edit_minutes,
    params:
        hyper=hyperparameters,
        switches=EDITING,
        stop=stop_rule,
        compute=COMPUTE,
        engine=ENGINE_VERSION,
    message:
        "{wildcards.method} iteration {wildcards.k} on {wildcards.dataset}, {wildcards.model}, trial {wildcards.trial}"
    script:
        "../../scripts/edit.py"


# Asked for by name: snakemake results/{name}/export/{dataset}/{model}/{method}/trial1/iter10
rule export_model:
    input:
        model="resources/models/{model}",
        state=f"{ITERATION}/state.json",
    output:
        directory(f"{OUT}/export/{layout.ITERATION}"),
    log:
        f"logs/{config['name']}/export/{layout.ITERATION}.log",
    conda:
        "../../envs/editing.yaml"
    resources:
        mem_mb=preparation_memory,
        runtime=minutes(60),
    message:
        "Exporting {wildcards.model} as {wildcards.method} left it after iteration {wildcards.k}"
    script:
        "../../scripts/export_model.py"
