# Tasks of lm-evaluation-harness on a model, for `evaluation.harness`; asked for by name only.
# Needs: a model's folder, of an edited one the exported folder.
# Makes: harness/{model}.json, harness/{dataset}/{model}/{method}/trial{t}/iter{k}.json.


include: "../inputs/harness.smk"


# snakemake results/{name}/harness/{dataset}/{model}/{method}/trial1/iter10.json
rule run_harness:
    input:
        model=FILES.overall(f"export/{layout.ITERATION}"),
        tasks=own_tasks,
    output:
        FILES.overall(f"harness/{layout.ITERATION}.json"),
    log:
        FILES.log(f"harness/{layout.ITERATION}"),
    conda:
        "../../envs/harness.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=megabytes(RESOURCES.generating, "model"),
        gpu=RESOURCES.gpus,
        runtime=minutes(240),
    params:
        asked=CONFIG.evaluation.harness,
        include=own_tasks_folder,
        device=COMPUTE.device,
        deterministic=COMPUTE.deterministic,
    message:
        "Tasks of lm-evaluation-harness on {wildcards.model} as {wildcards.method} left it after iteration {wildcards.k}"
    script:
        "../../scripts/run_harness.py"


# snakemake results/{name}/harness/{model}.json
use rule run_harness as run_harness_unedited with:
    input:
        model=layout.MODEL,
        tasks=own_tasks,
    output:
        FILES.overall("harness/{model}.json"),
    log:
        FILES.log("harness/{model}"),
    message:
        "Tasks of lm-evaluation-harness on the unedited {wildcards.model}"
