# What the rules of facts of one's own ask: inputs.

from modeledit.study.own_facts import Study

FACTS = CONFIG.facts
RUN_OF_FACTS = SETTINGS.runs[0]
LAST = STUDY.last_iteration(
    RUN_OF_FACTS.dataset, RUN_OF_FACTS.model, RUN_OF_FACTS.method
)


def of_facts(pattern, **more):
    """`pattern` filled in for the one run."""
    return layout.filled(pattern, RUN_OF_FACTS, **more)


def unfiltered(pattern):
    """`pattern` filled in for the facts before the neighbor filter."""
    return pattern.format(
        dataset=layout.DATASET_OF_FACTS, model=RUN_OF_FACTS.model, trial=1
    )


def all_of_facts(name):
    """A file of all iterations of the one run."""
    return STUDY.iterations_of(FILES.iteration_files[name], *RUN_OF_FACTS.key)
