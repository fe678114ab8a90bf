# How far a run is, on the terminal, in place of what Snakemake says of every job. Where it was told what to
# print - nothing, more, or what it would do - or has another logger, its own output stays.

from snakemake.logging import logger
from snakemake.settings.enums import Quietness

from modeledit.planning.forecast import Forecast
from modeledit.progress.terminal import show_progress
from modeledit.progress.watch import Job


def jobs_to_make():
    """All jobs of this run, once Snakemake knows them."""
    return [
        Job(
            job.jobid,
            job.rule.name,
            dict(job.wildcards_dict),
            Path(job.log[0]) if job.log else None,
        )
        for job in workflow.dag.needrun_jobs()
    ]


asked_to_print = workflow.output_settings
if not (
    asked_to_print.dryrun
    or asked_to_print.verbose
    or asked_to_print.printshellcmds
    or {Quietness.ALL, Quietness.PROGRESS} & set(asked_to_print.quiet or ())
):
    show_progress(logger, jobs_to_make, Forecast(SETTINGS))
