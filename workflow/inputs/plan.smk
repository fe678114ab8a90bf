# What the rules of the plan ask: inputs, parameters, resources.


def paper_files(wildcards):
    """Every file that `all` asks for."""
    return sorted({str(path) for path in rules.all.input if isinstance(path, str)})
