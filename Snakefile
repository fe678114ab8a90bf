"""Entry point in the project's own folder: `snakemake --cores N`. The workflow is in workflow/Snakefile."""


include: "workflow/Snakefile"


rule default:
    default_target: True
    input:
        rules.all.input,
