# What the rules of metrics ask: inputs, parameters, resources.


def every_iteration(name):
    """Input function: a file of all iterations of the wildcards' run."""
    pattern = FILES.iteration_files[name]

    def paths(wildcards):
        return STUDY.iterations_of(pattern, *wildcards)

    return paths
