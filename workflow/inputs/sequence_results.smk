# What the rules of the results of sequences ask: inputs, parameters.


def reported_sequences(file):
    """A file about each sequence that is reported."""
    return STUDY.of_sequences(FILES.sequence(file))


def every_batch(file):
    """Input function: a file of all batches of the wildcards' sequence."""

    def paths(wildcards):
        batches = batches_of(wildcards)
        return [FILES.batch(file).format(**wildcards, batch=b) for b in batches]

    return paths


def batches_of(wildcards):
    """Numbers of the batches of the wildcards' sequence."""
    return STUDY.batches(STUDY.sequence(**wildcards))


def count_of(wildcards):
    """How many batches the wildcards' sequence has."""
    return STUDY.sequence(**wildcards).count


def measure_of(wildcards):
    """What a figure shows of a dataset: success on CounterFact, as published, else accuracy.

    zsRE has no old object to be likelier than, and success says little of the built-in facts.
    """
    name = wildcards.dataset.removesuffix(ELIGIBLE)
    return "succ" if CONFIG.datasets[name].source == "counterfact" else "acc"


def small_models():
    """Printed names of models that neither the paper nor the published sequences have."""
    return [
        title
        for title in SETTINGS.small_models
        if title not in {SETTINGS.titles.get(name) for name in SEQUENCE_MODELS}
    ]
