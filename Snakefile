"""Iterative and neighbor-assisted model editing: entry point of the workflow.

`snakemake --cores N` makes everything; `snakemake -n` shows the plan; `metrics`, `comparison`, `tables`,
`figures`, `report`, `statistics` and `requests` are targets of their own.
"""

import sys
from pathlib import Path

from snakemake.utils import min_version

from modeledit.presentation.closing import closing_lines

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


onsuccess:
    if lines := closing_lines(Path(OUT)):
        print("\nWhere to look:", *lines, sep="\n", file=sys.stderr)


onerror:
    print(
        f"\nStopped; the failed job's own log is shown above. What was finished stays, and the same command"
        f" goes on from there. The log of this run: {log}",
        file=sys.stderr,
    )
