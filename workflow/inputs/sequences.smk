# What the rules of batches in sequence ask: inputs, parameters, resources.

KEPT = {
    name: FILES.batch(Path(LINK[name]).name)
    for name in ("state", "edited", "key_cache")
}
# Batches whose matrices stay: the last ones, so that a sequence can go on, or all.
STAY = one_of(sorted({str(sequence.count) for sequence in SETTINGS.sequences}))
if any(sequence.keep == "all" for sequence in SETTINGS.sequences):
    STAY = r"[1-9]\d*"


def sequence_of(wildcards):
    """The sequence that a batch belongs to."""
    names = ("dataset", "model", "method", "trial", "size")
    return STUDY.sequence(**{name: getattr(wildcards, name) for name in names})


def before_in_sequence(name):
    """Input function: a file of iteration k-1, or of the batch before."""

    def path(wildcards):
        k, batch = int(wildcards.k) - 1, int(wildcards.batch) - 1
        if k:
            return LINK[name].format(**{**wildcards, "k": k})
        return KEPT[name].format(**{**wildcards, "batch": batch}) if batch else []

    return path


def repeated_in_batch(name):
    """Input function: a file of iteration k-1 that only a method which repeats one stage reads."""

    def path(wildcards):
        both = METHODS[wildcards.method].repeats == "both"
        first = int(wildcards.k) == 1
        return [] if both or first else before_in_sequence(name)(wildcards)

    return path


def keys_in_sequence(wildcards):
    """Input function: keys of earlier batches, or of every iteration before, as the method keeps."""
    kept = METHODS[wildcards.method].keys_kept(SWITCHES.key_cache)
    iterations = STUDY.batch_iterations(sequence_of(wildcards))
    place = int(wildcards.batch), int(wildcards.k)
    return [
        (LINK if k else KEPT)["key_cache"].format(
            **{**wildcards, "batch": batch, "k": k}
        )
        for batch, k in earlier_keys(kept, *place, iterations)
    ]


def every_link(name):
    """Input function: a file of all iterations that a batch may have."""

    def paths(wildcards):
        ks = STUDY.batch_iterations(sequence_of(wildcards))
        return [LINK[name].format(**{**wildcards, "k": k}) for k in ks]

    return paths


def precedence_of_batch(wildcards):
    """How early an iteration goes."""
    return PRECEDENCE.batch(
        sequence_of(wildcards), int(wildcards.batch), int(wildcards.k)
    )


def stop_of_batch(wildcards):
    """When a batch stops."""
    return SETTINGS.stop_of_batch(sequence_of(wildcards))


def stopped_in_batch(wildcards):
    """Whether the batch had stopped before iteration k, as far as the files tell now."""
    k = int(wildcards.k) - 1
    state = Path(LINK["state"].format(**{**wildcards, "k": k}))
    return bool(k) and state.exists() and read_state(state).stopped


def batch_gpus(wildcards):
    """One GPU for an iteration that edits, none for one that only passes the stop on."""
    return 0 if stopped_in_batch(wildcards) else RESOURCES.gpus


def batch_minutes(wildcards, attempt):
    """Half a day for an iteration that edits, minutes for one that only passes the stop on."""
    return PASSING_MINUTES if stopped_in_batch(wildcards) else EDIT_MINUTES * attempt


def batch_memory(wildcards, attempt):
    """Memory of an iteration, in MB."""
    if stopped_in_batch(wildcards):
        return RESOURCES.passing(attempt)
    return RESOURCES.editing_batch(sequence_of(wildcards), attempt)
