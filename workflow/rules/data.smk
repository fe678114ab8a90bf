# Requests and texts.
# Needs: the data source of each dataset, the authors' own trials, the Wikipedia excerpt.
# Makes: requests.jsonl per dataset, disjoint trials, neighbor-eligible trials per model, texts.

PUBLISHED_TRIALS = published_trials()
SAMPLED = [name for name in config["datasets"] if name not in PUBLISHED_TRIALS]


rule requests:
    input:
        every_trial_file(),


rule build_requests:
    input:
        dataset_file,
    output:
        f"{OUT}/{{dataset}}/requests.jsonl",
    log:
        f"logs/{config['name']}/{{dataset}}/requests.log",
    conda:
        "../../envs/paper.yaml"
    params:
        dataset=dataset_description,
        seed=config["seed"],
    message:
        "Building the requests of {wildcards.dataset}"
    script:
        "../../scripts/build_requests.py"


rule split_trials:
    input:
        f"{OUT}/{{dataset}}/requests.jsonl",
    output:
        expand(
            f"{OUT}/{{{{dataset}}}}/trials/trial{{trial}}.jsonl",
            trial=range(1, config["trials"]["count"] + 1),
        ),
    log:
        f"logs/{config['name']}/{{dataset}}/trials.log",
    wildcard_constraints:
        dataset=one_of(SAMPLED),
    conda:
        "../../envs/paper.yaml"
    params:
        size=config["trials"]["size"],
        seed=config["seed"],
    message:
        "Splitting {wildcards.dataset} into {config[trials][count]} disjoint trials"
    script:
        "../../scripts/split_trials.py"


rule read_trial:
    input:
        published_trial,
    output:
        f"{OUT}/{{dataset}}/trials/trial{{trial}}.jsonl",
    log:
        f"logs/{config['name']}/{{dataset}}/trial{{trial}}.log",
    wildcard_constraints:
        dataset=one_of(PUBLISHED_TRIALS),
    conda:
        "../../envs/paper.yaml"
    params:
        kind=dataset_kind,
        size=config["trials"]["size"],
    message:
        "Reading the authors' trial {wildcards.trial} of {wildcards.dataset}"
    script:
        "../../scripts/read_published.py"


rule read_eligible:
    input:
        published_eligible,
    output:
        f"{OUT}/{{dataset}}/{{model}}/eligible/authors.jsonl",
    log:
        f"logs/{config['name']}/{{dataset}}/{{model}}/eligible/authors.log",
    conda:
        "../../envs/paper.yaml"
    params:
        kind="eligible",
        size=config["eligible"].get("size"),
    message:
        "Reading the authors' eligible requests for {wildcards.model}"
    script:
        "../../scripts/read_published.py"


rule find_eligible:
    input:
        requests=f"{OUT}/{{dataset}}/trials/trial{{trial}}.jsonl",
        model="resources/models/{model}",
        authors=authors_eligible,
    output:
        requests=f"{OUT}/{{dataset}}/{{model}}/eligible/trial{{trial}}.jsonl",
        verdicts=f"{OUT}/{{dataset}}/{{model}}/eligible/trial{{trial}}.verdicts.csv",
        summary=f"{OUT}/{{dataset}}/{{model}}/eligible/trial{{trial}}.summary.csv",
        yields=f"{OUT}/{{dataset}}/{{model}}/eligible/trial{{trial}}.yields.json",
    log:
        f"logs/{config['name']}/{{dataset}}/{{model}}/eligible/trial{{trial}}.log",
    benchmark:
        f"logs/{config['name']}/{{dataset}}/{{model}}/eligible/trial{{trial}}.benchmark.tsv"
    conda:
        "../../envs/editing.yaml"
    threads: COMPUTE["threads"]
    resources:
        mem_mb=scoring_memory,
        gpu=GPUS,
        token_budget=token_budget,
        runtime=minutes(120),
    params:
        compute=COMPUTE,
        eval_positions=SETTINGS.switches["eval_positions"],
        eligible=config["eligible"],
        seed=config["seed"],
    message:
        "Finding the neighbors that {wildcards.model} knows (trial {wildcards.trial})"
    script:
        "../../scripts/find_eligible.py"


rule prepare_text:
    input:
        perplexity=perplexity_file,
    output:
        covariance=f"{OUT}/text/covariance.jsonl",
        perplexity=f"{OUT}/text/perplexity.jsonl",
    log:
        f"logs/{config['name']}/text.log",
    conda:
        "../../envs/editing.yaml"
    params:
        text=TEXT,
        seed=config["seed"],
    message:
        "Preparing the texts of the covariance and of ME-PPL"
    script:
        "../../scripts/prepare_text.py"
