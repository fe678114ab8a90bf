"""Iterative and neighbor-assisted model editing: entry point of the workflow.

`snakemake --cores N` makes everything; `snakemake -n` shows the plan; `metrics`, `comparison`, `tables`,
`figures`, `report`, `statistics` and `requests` are targets of their own.
"""

from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"


# A partial study takes results as they are: nothing that runs a model is a rule then.
if not config["partial"]:

    include: "workflow/rules/resources.smk"
    include: "workflow/rules/data.smk"
    include: "workflow/rules/statistics.smk"
    include: "workflow/rules/editing.smk"


include: "workflow/rules/evaluation.smk"
include: "workflow/rules/paper.smk"


if not config["partial"]:

    include: "workflow/rules/plan.smk"


rule all:
    default_target: True
    input:
        rules.metrics.input,
        rules.tables.input,
        rules.figures.input,
        rules.report.input,
        f"{OUT}/config.yaml",
