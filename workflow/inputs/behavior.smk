# What the rules that observe states ask.

from modeledit.study.config import ELIGIBLE

UNEDITED = "{dataset}/{model}/unedited/trial{trial}"


def probe_format(wildcards):
    """The format of a dataset's file of probes; None where they are built in."""
    described = CONFIG.evaluation.probes.files.get(
        wildcards.dataset.removesuffix(ELIGIBLE)
    )
    return described.format if described else None
