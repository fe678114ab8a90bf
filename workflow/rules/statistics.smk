# Statistics of the unedited model, shared by every run.
# Needs: a prepared model, the covariance text or the authors' covariances.
# Makes: context templates, the covariance of the keys of all edited layers in one pass, and its
# Cholesky factors. A covariance gathered over many articles leaves partial sums on the way.

STATISTICS = f"{OUT}/statistics/{{model}}"


rule statistics:
    input:
        expand(f"{STATISTICS}/contexts.json", model=sorted(SETTINGS.models)),
        every_factor(),


rule make_contexts:
    input:
        model="resources/models/{model}",
    output:
        f"{STATISTICS}/contexts.json",
    log:
        f"logs/{config['name']}/statistics/{{model}}/contexts.log",
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE["threads"]
    resources:
        mem_mb=scoring_memory,
        gpu=GPUS,
        runtime=minutes(30),
    params:
        compute=COMPUTE,
        seed=config["seed"],
        sets=context_sets,
    message:
        "Sampling context templates from {wildcards.model}"
    script:
        "../../scripts/make_contexts.py"


if COVARIANCE["source"] == "authors":

    rule convert_covariance:
        input:
            model="resources/models/{model}",
            published=published_covariances,
        output:
            covariance=f"{STATISTICS}/covariance.safetensors",
        log:
            f"logs/{config['name']}/statistics/{{model}}/covariance.log",
        conda:
            "../../envs/editing.yaml"
        resources:
            mem_mb=factor_memory,
            runtime=minutes(60),
        params:
            layers=edited_layers,
            shape=model_shape,
            recipe=covariance_recipe,
        message:
            "Converting the authors' covariance of layers {params.layers} of {wildcards.model}"
        script:
            "../../scripts/convert_covariance.py"

else:

    rule gather_covariance:
        input:
            model="resources/models/{model}",
            text=covariance_text,
        output:
            covariance=f"{STATISTICS}/covariance.safetensors",
        log:
            f"logs/{config['name']}/statistics/{{model}}/covariance.log",
        benchmark:
            f"logs/{config['name']}/statistics/{{model}}/covariance.benchmark.tsv"
        conda:
            "../../envs/editing.yaml"
        threads: COMPUTE["threads"]
        resources:
            mem_mb=covariance_memory,
            gpu=GPUS,
            runtime=minutes(1440 if COVARIANCE["source"] == "recompute" else 600),
        params:
            layers=edited_layers,
            recipe=covariance_recipe,
            every=COVARIANCE["checkpoint"],
            compute=COMPUTE,
        message:
            "Gathering the covariance of layers {params.layers} of {wildcards.model}"
        script:
            "../../scripts/gather_covariance.py"


rule factorize_covariance:
    input:
        covariance=f"{STATISTICS}/covariance.safetensors",
        model="resources/models/{model}",
    output:
        f"{STATISTICS}/factors.safetensors",
    log:
        f"logs/{config['name']}/statistics/{{model}}/factors.log",
    benchmark:
        f"logs/{config['name']}/statistics/{{model}}/factors.benchmark.tsv"
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE["threads"]
    resources:
        mem_mb=factor_memory,
        gpu=GPUS,
        runtime=minutes(60),
    params:
        recipe=covariance_recipe,
        compute=COMPUTE,
    message:
        "Factorising the covariance of {wildcards.model}"
    script:
        "../../scripts/factorize_covariance.py"
