# What the rules of requests and texts ask: inputs, parameters, resources.


def dataset_kind(wildcards):
    """What kind of records a dataset has."""
    return CONFIG.datasets[wildcards.dataset].source


def dataset_digest(wildcards):
    """sha256 of a file of the user: a copy may be older than what it takes the place of."""
    if not CONFIG.datasets[wildcards.dataset].path:
        return None
    return USER_FILES.digest(Path(STUDY.dataset_file(wildcards.dataset)))


def authors_eligible(wildcards):
    """The authors' own eligible set to compare with, where the configuration names one."""
    named = CONFIG.eligible.compare.get(wildcards.model)
    return STUDY.in_project(named) if named else []
