# From raw scores to metrics and to what they say; neither torch nor a GPU is needed from here on.
# Needs: unedited scores and every iteration's scores and logs.
# Makes: metrics and per-request values of each run; of all runs metrics.csv, picks.csv, intervals.csv,
# differences.csv, comparison.csv, claims.csv and hardware.csv.


include: "../inputs/evaluation.smk"


rule metrics:
    input:
        of_runs("metrics.csv"),
        of_runs("picks.csv"),


rule comparison:
    input:
        of_runs("comparison.csv"),
        of_runs("claims.csv"),
        of_sequences("sequence_comparison.csv"),


rule evaluate_run:
    input:
        unedited=FILES.unedited_scores,
        scores=every_iteration("scores"),
        edits=every_iteration("edits"),
    output:
        metrics=FILES.run_metrics,
        requests=FILES.request_metrics,
    log:
        FILES.log(f"{layout.RUN}/metrics"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("evaluate_run", "evaluation"),
        switches=SWITCHES,
    message:
        "Metrics of {wildcards.method} on {wildcards.dataset}, {wildcards.model}, trial {wildcards.trial}"
    script:
        "../../scripts/evaluate_run.py"


rule aggregate:
    input:
        STUDY.reported(FILES.run_metrics),
    output:
        metrics=FILES.overall("metrics.csv"),
        picks=FILES.overall("picks.csv"),
    log:
        FILES.log("metrics"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("aggregate", "evaluation"),
        epsilon=CONFIG.stop.epsilon,
        stop_row=SWITCHES.stop_row,
    message:
        "Gathering the metrics of all runs"
    script:
        "../../scripts/aggregate.py"


rule measure_differences:
    input:
        metrics=FILES.overall("metrics.csv"),
        requests=STUDY.reported(FILES.request_metrics),
    output:
        intervals=FILES.overall("intervals.csv"),
        differences=FILES.overall("differences.csv"),
    log:
        FILES.log("differences"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("measure_differences", "evaluation"),
        seed=CONFIG.seed,
        epsilon=CONFIG.stop.epsilon,
        stop_row=SWITCHES.stop_row,
        zeros=SWITCHES.score_zeros,
    message:
        "Intervals over trials and edits, paired tests on the same edits"
    script:
        "../../scripts/measure_differences.py"


rule compare_published:
    input:
        metrics=FILES.overall("metrics.csv"),
        intervals=FILES.overall("intervals.csv"),
        tables=project("modeledit/paper/printed/tables.csv"),
        suspects=project("modeledit/paper/printed/suspects.yaml"),
    output:
        FILES.overall("comparison.csv"),
    log:
        FILES.log("comparison"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("compare", "paper", "evaluation"),
        comparable={name: m.comparable for name, m in SETTINGS.models.items()},
        sources={name: d.source for name, d in CONFIG.datasets.items()},
        epsilon=CONFIG.stop.epsilon,
        switches=SWITCHES,
    message:
        "Setting the paper's cells beside ours"
    script:
        "../../scripts/compare.py"


rule check_claims:
    input:
        metrics=FILES.overall("metrics.csv"),
        requests=STUDY.reported(FILES.request_metrics),
        edits=STUDY.reported_iterations(FILES.iteration_files["edits"]),
        tables=project("modeledit/paper/printed/tables.csv"),
    output:
        FILES.overall("claims.csv"),
    log:
        FILES.log("claims"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("check_claims", "paper", "evaluation"),
        small=[name for name, m in SETTINGS.models.items() if not m.comparable],
        titles=SETTINGS.titles,
        epsilon=CONFIG.stop.epsilon,
        switches=SWITCHES,
    message:
        "Checking the paper's claims"
    script:
        "../../scripts/check_claims.py"


rule gather_hardware:
    input:
        STUDY.reported_iterations(FILES.iteration_files["hardware"]),
    output:
        FILES.overall("hardware.csv"),
    log:
        FILES.log("hardware"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("gather_hardware", "presentation"),
    message:
        "Gathering what the jobs ran on"
    script:
        "../../scripts/gather_hardware.py"
