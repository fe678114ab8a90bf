# Whether continuations say the new object, as a judge says it, for `evaluation.judge`; asked for by name only.
# Needs: requests of a trial, generations.parquet of the unedited model, k = 1 and the stop of a run.
# Makes: judge_prompts.jsonl of each run; judgements.jsonl, where a file of verdicts or a server is named.


include: "../inputs/judge.smk"


rule judgements:
    input:
        judge_files(),


rule write_judge_prompts:
    input:
        requests=asked(STUDY.requests, "dataset", "model", "trial"),
        generations=judged_generations,
    output:
        FILES.behavior("judge_prompts.jsonl"),
    log:
        FILES.log(f"{layout.RUN}/judge_prompts"),
    conda:
        "../../envs/paper.yaml"
    params:
        code=code_of("write_judge_prompts", "evaluation"),
        kinds=JUDGE.kinds if JUDGE else (),
    message:
        "Questions to a judge about {wildcards.method} on {wildcards.dataset}, {wildcards.model}, trial {wildcards.trial}"
    script:
        "../../scripts/write_judge_prompts.py"


rule judge:
    input:
        prompts=FILES.behavior("judge_prompts.jsonl"),
        verdicts=verdicts_file,
    output:
        FILES.behavior("judgements.jsonl"),
    log:
        FILES.log(f"{layout.RUN}/judgements"),
    conda:
        "../../envs/editing.yaml"
    resources:
        runtime=minutes(240),
    params:
        settings=JUDGE,
    message:
        "Judging {wildcards.method} on {wildcards.dataset}, {wildcards.model}, trial {wildcards.trial}"
    script:
        "../../scripts/judge.py"
