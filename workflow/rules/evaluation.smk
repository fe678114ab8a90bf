# From raw scores to metrics and to what they say; neither torch nor a GPU is needed from here on.
# Needs: unedited scores and every iteration's scores and logs.
# Makes: metrics and per-request values of each run; of all runs metrics.csv, picks.csv, intervals.csv,
# differences.csv, comparison.csv, claims.csv and hardware.csv.


rule metrics:
    input:
        f"{OUT}/metrics.csv",
        f"{OUT}/picks.csv",


rule comparison:
    input:
        f"{OUT}/comparison.csv",
        f"{OUT}/claims.csv",


rule evaluate_run:
    input:
        unedited=f"{OUT}/{{dataset}}/{{model}}/unedited/trial{{trial}}/scores.parquet",
        scores=every_iteration(f"{ITERATION}/scores.parquet"),
        edits=every_iteration(f"{ITERATION}/edits.parquet"),
    output:
        metrics=f"{RUN}/metrics.csv",
        requests=f"{RUN}/requests.parquet",
    log:
        f"{RUN_LOG}/metrics.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("evaluation"),
        switches=SETTINGS.switches,
    message:
        "Metrics of {wildcards.method} on {wildcards.dataset}, {wildcards.model}, trial {wildcards.trial}"
    script:
        "../../scripts/evaluate_run.py"


rule aggregate:
    input:
        reported(f"{RUN}/metrics.csv"),
    output:
        metrics=f"{OUT}/metrics.csv",
        picks=f"{OUT}/picks.csv",
    log:
        f"logs/{config['name']}/metrics.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("evaluation"),
        epsilon=config["stop"]["epsilon"],
        stop_row=SETTINGS.switches["stop_row"],
    message:
        "Gathering the metrics of all runs"
    script:
        "../../scripts/aggregate.py"


rule measure_differences:
    input:
        metrics=f"{OUT}/metrics.csv",
        requests=reported(f"{RUN}/requests.parquet"),
    output:
        intervals=f"{OUT}/intervals.csv",
        differences=f"{OUT}/differences.csv",
    log:
        f"logs/{config['name']}/differences.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("evaluation"),
        seed=config["seed"],
        epsilon=config["stop"]["epsilon"],
        stop_row=SETTINGS.switches["stop_row"],
        zeros=SETTINGS.switches["score_zeros"],
    message:
        "Intervals over trials and edits, paired tests on the same edits"
    script:
        "../../scripts/measure_differences.py"


rule compare_published:
    input:
        metrics=f"{OUT}/metrics.csv",
        intervals=f"{OUT}/intervals.csv",
        tables="workflow/published/tables.csv",
        suspects="workflow/published/suspects.yaml",
    output:
        comparison=f"{OUT}/comparison.csv",
        summary=f"{OUT}/comparison_summary.csv",
    log:
        f"logs/{config['name']}/comparison.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("paper", "evaluation"),
        comparable={name: m["comparable"] for name, m in SETTINGS.models.items()},
        sources={name: d["source"] for name, d in config["datasets"].items()},
        epsilon=config["stop"]["epsilon"],
        switches=SETTINGS.switches,
    message:
        "Setting the paper's cells beside ours"
    script:
        "../../scripts/compare.py"


rule check_claims:
    input:
        metrics=f"{OUT}/metrics.csv",
        requests=reported(f"{RUN}/requests.parquet"),
        edits=reported_iterations(f"{ITERATION}/edits.parquet"),
        tables="workflow/published/tables.csv",
    output:
        f"{OUT}/claims.csv",
    log:
        f"logs/{config['name']}/claims.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("paper", "evaluation"),
        small=[name for name, m in SETTINGS.models.items() if not m["comparable"]],
        titles=model_titles(),
        epsilon=config["stop"]["epsilon"],
        switches=SETTINGS.switches,
    message:
        "Checking the paper's claims"
    script:
        "../../scripts/check_claims.py"


rule gather_hardware:
    input:
        reported_iterations(f"{ITERATION}/hardware.json"),
    output:
        f"{OUT}/hardware.csv",
    log:
        f"logs/{config['name']}/hardware.log",
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("presentation"),
    message:
        "Gathering what the jobs ran on"
    script:
        "../../scripts/gather_hardware.py"
