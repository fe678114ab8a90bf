# From raw scores to metrics; neither torch nor a GPU is needed from here on.
# Needs: unedited scores and every iteration's scores and logs.
# Makes: metrics and per-request values of each run, metrics.csv of all runs, stopping picks.


rule metrics:
    input:
        f"{OUT}/metrics.csv",
        f"{OUT}/picks.csv",


rule evaluate_run:
    input:
        unedited=f"{OUT}/{{dataset}}/{{model}}/unedited/trial{{trial}}/scores.parquet",
        scores=expand(
            f"{RUN}/iter{{k}}/scores.parquet",
            k=range(1, LAST_ITERATION + 1),
            allow_missing=True,
        ),
        edits=expand(
            f"{RUN}/iter{{k}}/edits.parquet",
            k=range(1, LAST_ITERATION + 1),
            allow_missing=True,
        ),
    output:
        metrics=f"{RUN}/metrics.csv",
        requests=f"{RUN}/requests.parquet",
    log:
        f"{RUN_LOG}/metrics.log",
    conda:
        "../../envs/paper.yaml"
    params:
        switches=SETTINGS.switches,
    message:
        "Metrics of {wildcards.method} on {wildcards.dataset}, {wildcards.model}, trial {wildcards.trial}"
    script:
        "../../scripts/evaluate_run.py"


rule aggregate:
    input:
        every_run(f"{RUN}/metrics.csv"),
    output:
        metrics=f"{OUT}/metrics.csv",
        picks=f"{OUT}/picks.csv",
    log:
        f"logs/{config['name']}/metrics.log",
    conda:
        "../../envs/paper.yaml"
    params:
        epsilon=config["stop"]["epsilon"],
    message:
        "Gathering the metrics of all runs"
    script:
        "../../scripts/aggregate.py"
