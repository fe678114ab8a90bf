# What a study will cost and what is missing, before anything runs: `snakemake plan --configfile X`.
# Needs: nothing; no model is loaded and nothing is downloaded.
# Makes: plan.txt and plan.json, anew each time, so that they are no declared output; prints the text.


include: "../inputs/plan.smk"


rule plan:
    log:
        FILES.log("plan"),
    localrule: True
    conda:
        "../../envs/editing.yaml"
    params:
        study=STUDY,
        paper=paper_files,
    message:
        f"Planning {CONFIG.name}"
    script:
        "../../scripts/make_plan.py"
