# What the rules of tables, figures and the report ask: inputs, parameters, resources.

from modeledit.presentation.compiling import ENGINES


def figure_files():
    """Every figure of the study."""
    return [FILES.figure(name) for name in CONTENTS.figures()]


def trials_of(pattern):
    """Input function: `pattern` for all trials of the wildcards' dataset, model and method."""

    def paths(wildcards):
        run = (wildcards.dataset, wildcards.model, wildcards.method)
        return STUDY.trials_of(pattern, *run)

    return paths


def logs_of_alphaedit(wildcards):
    """Input function: logs of all iterations of AlphaEdit, whatever its key cache and L2."""
    place = wildcards.dataset, wildcards.model
    logs = FILES.iteration_files["edits"]
    methods = CONTENTS.iterated_alphaedit(*place)
    return [
        path for method in methods for path in STUDY.trials_of(logs, *place, method)
    ]


def first_trial_requests(wildcards):
    """Requests of trial 1, from which the one edit of a figure is taken."""
    return STUDY.requests(wildcards.dataset, wildcards.model, 1)


def differences_at_hand():
    """The paired tests; nothing where a partial study has no values of single requests."""
    return _of_single_requests("differences.csv")


def intervals_at_hand():
    """The intervals; nothing where a partial study has no values of single requests."""
    return _of_single_requests("intervals.csv")


def _of_single_requests(name):
    path = FILES.overall(name)
    values = STUDY.reported(FILES.request_metrics)
    edited = any(STUDY.iterations(run) for run in STUDY.reported_runs())
    return path if edited or STUDY.at_hand([path, *values]) else []


def single_edits():
    """What the report shows single edits from: four lists, in the order of the runs."""
    found = STUDY.single_edits()
    return {
        "values": [edits.metrics for edits in found],
        "requests": [edits.requests for edits in found],
        "contexts": [edits.contexts for edits in found],
        "unedited": [edits.unedited for edits in found],
    }
