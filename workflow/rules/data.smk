# Requests and texts.
# Needs: the data source of each dataset, the Wikipedia excerpt.
# Makes: requests.jsonl per dataset, disjoint trials, neighbor-eligible trials per model, texts.


rule requests:
    input:
        expand(
            f"{OUT}/{{dataset}}/trials/trial{{trial}}.jsonl",
            dataset=sorted(
                {run.dataset.removesuffix(ELIGIBLE) for run in SETTINGS.runs}
            ),
            trial=range(1, config["trials"]["count"] + 1),
        ),


rule write_config:
    output:
        f"{OUT}/config.yaml",
    log:
        f"logs/{config['name']}/config.log",
    conda:
        "../../envs/paper.yaml"
    params:
        config=SETTINGS.config,
        switches=SETTINGS.switches,
        models=SETTINGS.models,
    message:
        "Writing the merged configuration beside the results"
    script:
        "../../scripts/write_config.py"


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
    conda:
        "../../envs/paper.yaml"
    params:
        size=config["trials"]["size"],
        seed=config["seed"],
    message:
        "Splitting {wildcards.dataset} into {config[trials][count]} disjoint trials"
    script:
        "../../scripts/split_trials.py"


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
        runtime=120,
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
        "Reading the Wikipedia excerpt"
    script:
        "../../scripts/prepare_text.py"
