# Requests and texts.
# Needs: the data source of each dataset, the authors' own trials, the Wikipedia excerpt.
# Makes: requests.jsonl per dataset, disjoint trials, neighbor-eligible trials per model, texts.


include: "../inputs/data.smk"


PUBLISHED_TRIALS = STUDY.published_datasets()
SAMPLED = [name for name in CONFIG.datasets if name not in PUBLISHED_TRIALS]


rule requests:
    input:
        STUDY.first_requests(),


rule build_requests:
    input:
        file=asked(STUDY.dataset_file, "dataset"),
    output:
        FILES.dataset_requests,
    log:
        FILES.log("{dataset}/requests"),
    conda:
        "../../envs/paper.yaml"
    params:
        kind=dataset_kind,
        skip_bad=lambda wildcards: CONFIG.datasets[wildcards.dataset].skip_bad,
        digest=dataset_digest,
        seed=CONFIG.seed,
        wanted=CONFIG.trials.count * CONFIG.trials.size,
    message:
        "Building the requests of {wildcards.dataset}"
    script:
        "../../scripts/build_requests.py"


rule split_trials:
    input:
        FILES.dataset_requests,
    output:
        expand(
            FILES.trial,
            trial=range(1, CONFIG.trials.count + 1),
            allow_missing=True,
        ),
    log:
        FILES.log("{dataset}/trials"),
    wildcard_constraints:
        dataset=one_of(SAMPLED),
    conda:
        "../../envs/paper.yaml"
    params:
        size=CONFIG.trials.size,
        seed=CONFIG.seed,
    message:
        f"Splitting {{wildcards.dataset}} into {CONFIG.trials.count} disjoint trials"
    script:
        "../../scripts/split_trials.py"


rule read_trial:
    input:
        asked(STUDY.published_trial, "dataset", "trial"),
    output:
        FILES.trial,
    log:
        FILES.log("{dataset}/trial{trial}"),
    wildcard_constraints:
        dataset=one_of(PUBLISHED_TRIALS),
    conda:
        "../../envs/paper.yaml"
    params:
        kind=dataset_kind,
        size=CONFIG.trials.size,
    message:
        "Reading the authors' trial {wildcards.trial} of {wildcards.dataset}"
    script:
        "../../scripts/read_published.py"


rule read_eligible:
    input:
        asked(STUDY.published_eligible, "dataset", "model"),
    output:
        f"{FILES.eligible}/authors.jsonl",
    log:
        FILES.log("{dataset}/{model}/eligible/authors"),
    conda:
        "../../envs/paper.yaml"
    params:
        kind="eligible",
        size=CONFIG.eligible.size,
    message:
        "Reading the authors' eligible requests for {wildcards.model}"
    script:
        "../../scripts/read_published.py"


rule find_eligible:
    input:
        requests=FILES.trial,
        model=layout.MODEL,
        authors=authors_eligible,
    output:
        requests=f"{FILES.eligible}/trial{{trial}}.jsonl",
        verdicts=f"{FILES.eligible}/trial{{trial}}.verdicts.csv",
        summary=f"{FILES.eligible}/trial{{trial}}.summary.csv",
        yields=f"{FILES.eligible}/trial{{trial}}.yields.json",
    log:
        FILES.log("{dataset}/{model}/eligible/trial{trial}"),
    benchmark:
        FILES.benchmark("{dataset}/{model}/eligible/trial{trial}")
    priority: PRECEDENCE.eligible  # what is wrong with requests is found here
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
        eval_positions=SWITCHES.eval_positions,
        editing_neighbors=CONFIG.eligible.editing_neighbors,
        choice=CONFIG.eligible.choice,
        copies=CONFIG.eligible.copies,
        others=CONFIG.eligible.others,
        seed=CONFIG.seed,
    message:
        "Finding the neighbors that {wildcards.model} knows (trial {wildcards.trial})"
    script:
        "../../scripts/find_eligible.py"


rule prepare_text:
    input:
        perplexity=STUDY.perplexity_file(),
    output:
        covariance=FILES.covariance_texts,
        perplexity=FILES.perplexity_texts,
    log:
        FILES.log("text"),
    conda:
        "../../envs/editing.yaml"
    params:
        text=asdict(CONFIG.text),
        seed=CONFIG.seed,
    message:
        "Preparing the texts of the covariance and of ME-PPL"
    script:
        "../../scripts/prepare_text.py"
