# What the rules of metrics ask: inputs, parameters, resources.


def every_iteration(name):
    """Input function: a file of all iterations of the wildcards' run."""
    pattern = FILES.iteration_files[name]

    def paths(wildcards):
        return STUDY.iterations_of(pattern, *wildcards)

    return paths


def of_runs(file):
    """A file about all runs; nothing where sequences of batches are all that is reported."""
    return FILES.overall(file) if STUDY.has_runs() else []


def of_sequences(file):
    """A file about all sequences of batches; nothing where there are none."""
    return FILES.overall(file) if STUDY.reported_sequences() else []
