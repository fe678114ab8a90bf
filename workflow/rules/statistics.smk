# Statistics of the unedited model, shared by every run.
# Needs: a prepared model, the covariance text or the authors' covariances.
# Makes: context templates, the covariance of the keys of all edited layers in one pass, and, as the
# methods need them, its Cholesky factors and its null spaces. A covariance gathered over many articles leaves partial sums on the way.

LAYERS = asked(SETTINGS.layers, "model")
RECIPE = asked(STUDY.covariance_recipe, "model")


rule statistics:
    input:
        expand(FILES.contexts, model=sorted(SETTINGS.models)),
        STUDY.every_factor(),


rule make_contexts:
    input:
        model=layout.MODEL,
    output:
        FILES.contexts,
    log:
        FILES.log("statistics/{model}/contexts"),
    priority: PRECEDENCE.contexts
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=megabytes(RESOURCES.scoring, "model"),
        gpu=RESOURCES.gpus,
        runtime=minutes(30),
    params:
        device=COMPUTE.device,
        deterministic=COMPUTE.deterministic,
        seed=CONFIG.seed,
        sets=asked(STUDY.context_sets, "model"),
    message:
        "Sampling context templates from {wildcards.model}"
    script:
        "../../scripts/make_contexts.py"


if CONFIG.covariance.source == "authors":

    rule convert_covariance:
        input:
            model=layout.MODEL,
            published=asked(STUDY.published_covariances, "model"),
        output:
            covariance=FILES.covariance,
        log:
            FILES.log("statistics/{model}/covariance"),
        priority: PRECEDENCE.covariance
        conda:
            "../../envs/editing.yaml"
        resources:
            mem_mb=megabytes(RESOURCES.factorizing, "model"),
            runtime=minutes(60),
        params:
            layers=LAYERS,
            width=lambda wildcards: SETTINGS.models[wildcards.model].mlp_width,
            recipe=RECIPE,
        message:
            "Converting the authors' covariance of layers {params.layers} of {wildcards.model}"
        script:
            "../../scripts/convert_covariance.py"

else:

    rule gather_covariance:
        input:
            model=layout.MODEL,
            text=STUDY.covariance_texts(),
        output:
            covariance=FILES.covariance,
        log:
            FILES.log("statistics/{model}/covariance"),
        cache: True
        priority: PRECEDENCE.covariance
        conda:
            "../../envs/editing.yaml"
        threads: COMPUTE.threads
        resources:
            mem_mb=megabytes(RESOURCES.gathering, "model"),
            gpu=RESOURCES.gpus,
            runtime=minutes(1440 if CONFIG.covariance.source == "recompute" else 600),
        params:
            layers=LAYERS,
            recipe=RECIPE,
            every=CONFIG.covariance.checkpoint,
            device=COMPUTE.device,
            deterministic=COMPUTE.deterministic,
        message:
            "Gathering the covariance of layers {params.layers} of {wildcards.model}"
        script:
            "../../scripts/gather_covariance.py"


rule factorize_covariance:
    input:
        covariance=FILES.covariance,
        model=layout.MODEL,
    output:
        FILES.factors,
    log:
        FILES.log("statistics/{model}/factors"),
    cache: True
    priority: PRECEDENCE.covariance
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=megabytes(RESOURCES.factorizing, "model"),
        gpu=RESOURCES.gpus,
        runtime=minutes(60),
    params:
        layers=asked(SETTINGS.factor_layers, "model"),
        recipe=RECIPE,
        device=COMPUTE.device,
        deterministic=COMPUTE.deterministic,
    message:
        "Factorising the covariance of {wildcards.model}"
    script:
        "../../scripts/factorize_covariance.py"


rule find_null_spaces:
    input:
        covariance=FILES.covariance,
        model=layout.MODEL,
        texts=FILES.perplexity_texts,
    output:
        multiext(
            f"{FILES.statistics}/null_spaces",
            matrices=".safetensors",
            summary=".csv",
            spectra=".parquet",
        ),
    log:
        FILES.log("statistics/{model}/null_spaces"),
    cache: True
    priority: PRECEDENCE.covariance
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=megabytes(RESOURCES.null_spaces, "model"),
        gpu=RESOURCES.gpus,
        runtime=megabytes(RESOURCES.null_space_minutes, "model"),
    params:
        layers=asked(SETTINGS.null_space_layers, "model"),
        cut=lambda wildcards: asdict(STUDY.cut(wildcards.model)),  # plain, for the cache
        recipe=RECIPE,
        device=COMPUTE.device,
        deterministic=COMPUTE.deterministic,
    message:
        "Finding the null spaces of {wildcards.model}'s covariances"
    script:
        "../../scripts/find_null_spaces.py"
