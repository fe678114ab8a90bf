# Batches in sequence: each is iterated to its stop before the next one starts.
# Needs: what a single run needs; the matrices and keys that the batch before left.
# Makes: per batch and iteration what an iteration makes, but for scores; per batch its last state, matrices
# and keys, the raw scores of everything edited so far, and the norms of the weights.
# The matrices of single iterations go once a batch has ended.

LINK = FILES.batch_iteration_files


include: "../inputs/sequences.smk"


rule split_batches:
    input:
        asked(STUDY.requests, "dataset", "model", "trial"),
    output:
        FILES.sequence("batches.csv"),
    log:
        FILES.log(f"{layout.SEQUENCE}/batches"),
    # What does not fill all batches is refused here, before long work. No edit waits for it: more batches
    # later would make it again, and then everything that was made of it.
    priority: PRECEDENCE.prepare
    conda:
        "../../envs/paper.yaml"
    params:
        batches=lambda wildcards: sequence_of(wildcards).count,
    message:
        "Batches of {wildcards.size} of {wildcards.dataset}, trial {wildcards.trial}"
    script:
        "../../scripts/split_batches.py"


rule edit_batch:
    input:
        requests=asked(STUDY.requests, "dataset", "model", "trial"),
        model=layout.MODEL,
        contexts=FILES.contexts,
        factors=asked(STUDY.covariance_factors, "model", "method"),
        null_spaces=asked(STUDY.null_spaces, "model", "method"),
        previous=before_in_sequence("state"),
        previous_edited=before_in_sequence("edited"),
        previous_targets=repeated_in_batch("targets"),
        previous_edits=repeated_in_batch("edits"),
        earlier_keys=keys_in_sequence,
    output:
        **LINK | {"edited": temp(LINK["edited"])},
    log:
        FILES.log(layout.BATCH_ITERATION),
    benchmark:
        FILES.benchmark(layout.BATCH_ITERATION)
    priority: precedence_of_batch
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE.threads
    resources:
        mem_mb=batch_memory,
        gpu=batch_gpus,
        token_budget=token_budget,
        runtime=batch_minutes,
    params:
        hyper=asked(STUDY.hyperparameters, "model", "method"),
        switches=SWITCHES.editing(),
        stop=stop_of_batch,
        compute=COMPUTE,
        engine=ENGINE_VERSION,
    message:
        "{wildcards.method} batch {wildcards.batch}, iteration {wildcards.k} on {wildcards.dataset}, {wildcards.model}, trial {wildcards.trial}"
    script:
        "../../scripts/edit.py"


rule keep_batch:
    input:
        states=every_link("state"),
        edited=every_link("edited"),
        key_cache=every_link("key_cache"),
    output:
        **KEPT | {"edited": temp(KEPT["edited"])},
    log:
        FILES.log(f"{layout.BATCH}/kept"),
    wildcard_constraints:
        batch=rf"(?!(?:{STAY})/)[1-9]\d*",
    priority: 75
    conda:
        "../../envs/paper.yaml"
    message:
        "Keeping what {wildcards.method} left after batch {wildcards.batch}"
    script:
        "../../scripts/keep_batch.py"


use rule keep_batch as keep_last_batch with:
    output:
        **KEPT,
    wildcard_constraints:
        batch=STAY,


rule score_batch:
    input:
        requests=asked(STUDY.requests, "dataset", "model", "trial"),
        texts=FILES.perplexity_texts,
        model=layout.MODEL,
        edited=KEPT["edited"],
        unedited=asked(STUDY.own_answers, "dataset", "model", "trial"),
    output:
        scores=FILES.batch("scores.parquet"),
        norms=FILES.batch("norms.csv"),
    log:
        FILES.log(f"{layout.BATCH}/scores"),
    benchmark:
        FILES.benchmark(f"{layout.BATCH}/scores")
    priority: 70  # the matrices that it reads go once it has ended
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
        "Scoring {wildcards.method} after batch {wildcards.batch} on {wildcards.dataset}, {wildcards.model}"
    script:
        "../../scripts/score_batch.py"
