# What the rules of the chain of one run ask: inputs, parameters, resources.

from modeledit.io.state import read_state
from modeledit.study.earlier_keys import earlier_keys


def previous(name):
    """Input function: a file of iteration k-1; nothing at k = 1."""

    def path(wildcards):
        k = int(wildcards.k) - 1
        return ITERATION[name].format(**{**wildcards, "k": k}) if k else []

    return path


def repeated(name):
    """Input function: a file of iteration k-1 that only a method which repeats one stage reads."""

    def path(wildcards):
        both = METHODS[wildcards.method].repeats == "both"
        return [] if both else previous(name)(wildcards)

    return path


def keys_in_run(wildcards):
    """Input function: keys of the iterations before, where the method keeps them in place."""
    kept, k = METHODS[wildcards.method].keys_kept(SWITCHES.key_cache), int(wildcards.k)
    return [
        ITERATION["key_cache"].format(**{**wildcards, "k": written.k})
        for written in earlier_keys(kept, 1, k, range(1, k))
    ]


def precedence_of_edit(wildcards):
    """How early an iteration goes."""
    run = (wildcards.dataset, wildcards.model, wildcards.method)
    return PRECEDENCE.edit(*run, int(wildcards.k))


def already_stopped(wildcards):
    """Whether the run had stopped before iteration k, as far as the files tell now."""
    state = previous("state")(wildcards)
    return bool(state) and Path(state).exists() and read_state(Path(state)).stopped


def edit_gpus(wildcards):
    """One GPU for an iteration that edits, none for one that only passes the stop on."""
    return 0 if already_stopped(wildcards) else RESOURCES.gpus


def edit_minutes(wildcards, attempt):
    """Half a day for an iteration that edits, minutes for one that only passes the stop on."""
    if already_stopped(wildcards):
        return PASSING_MINUTES
    return EDIT_MINUTES * attempt


def edit_memory(wildcards, attempt):
    """Memory of an iteration, in MB."""
    if already_stopped(wildcards):
        return RESOURCES.passing(attempt)
    run = (wildcards.dataset, wildcards.model, wildcards.method)
    return RESOURCES.editing(*run, attempt)
