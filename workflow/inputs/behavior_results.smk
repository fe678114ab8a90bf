# What the rules of the results of behavior ask: inputs.


def observed_files(wildcards):
    """Input function: raw files of a run's states, as {state}_{file}."""
    names = {**wildcards, "trial": int(wildcards.trial)}
    return STUDY.observed.files(layout.Run(**names))


def last_state(wildcards):
    """Input function: the state of the last iteration of a run, which says who holds the stop."""
    names = {**wildcards, "trial": int(wildcards.trial)}
    _, last = STUDY.observed.iterations(layout.Run(**names))
    return FILES.iteration_files["state"].format(**wildcards, k=last)


def reference_texts():
    """Texts that consistency is measured against; nothing where there are none."""
    fluency = CONFIG.evaluation.fluency
    return (
        STUDY.in_project(fluency.references) if fluency and fluency.references else []
    )


def of_behavior(file):
    """A file about the behavior of all models; nothing where nothing was observed of any."""
    return FILES.overall(file) if STUDY.observed.runs() else []
