# What the rules of the results of behavior ask: inputs.

OBSERVED = STUDY.observed


def observed_files(wildcards):
    """Input function: raw files of a run's states, as {state}_{file}."""
    return OBSERVED.files(run_of(wildcards))


def last_state(wildcards):
    """Input function: the state of a run's last iteration, which says who holds the stop."""
    return OBSERVED.last_state(run_of(wildcards))


def run_of(wildcards):
    """The run of the wildcards."""
    return layout.Run(**{**wildcards, "trial": int(wildcards.trial)})


def values_of_runs():
    """Values of each request of all runs that are observed."""
    values = FILES.behavior("behavior.parquet")
    return [values.format(**vars(run)) for run in OBSERVED.runs()]


def reference_texts():
    """Texts that consistency is measured against; nothing where there are none."""
    fluency = CONFIG.evaluation.fluency
    return (
        STUDY.in_project(fluency.references) if fluency and fluency.references else []
    )


def judgements_of_run(wildcards):
    """Input function: what a judge says of a run's continuations; nothing where nobody answers."""
    judge = CONFIG.evaluation.judge
    if not judge or not (judge.verdicts or judge.server):
        return []
    path = FILES.behavior("judgements.jsonl").format(**wildcards)
    return path if STUDY.at_hand([path]) else []


def of_behavior(file):
    """A file about the behavior of all models; nothing where nothing was observed of any."""
    return FILES.overall(file) if OBSERVED.runs() else []
