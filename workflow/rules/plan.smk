# What a study will cost and what is missing, before anything runs: `snakemake plan --configfile X`.
# Needs: nothing; no model is loaded and nothing is downloaded.
# Makes: plan.txt and plan.json, anew each time, so that they are no declared output; prints the text.


include: "plan_jobs.smk"


rule plan:
    log:
        f"logs/{config['name']}/plan.log",
    localrule: True
    conda:
        "../../envs/editing.yaml"
    params:
        settings=SETTINGS,
        folder=OUT,
        files=planned_files,
        paper=planned_paper,
        chains=planned_chains,
    message:
        "Planning {config[name]}"
    script:
        "../../scripts/make_plan.py"
