# What the rules that run lm-evaluation-harness ask.


def own_tasks_folder(wildcards):
    """The folder of tasks of the user's own; nothing where there is none."""
    asked = CONFIG.evaluation.harness
    return STUDY.in_project(asked.include) if asked and asked.include else None


def own_tasks(wildcards):
    """The files of that folder: results are made anew when one of them changes."""
    if CONFIG.evaluation.harness is None:
        raise WorkflowError(
            "evaluation.harness: not in the configuration; name its tasks there,"
            " `evaluation: {harness: {tasks: [...]}}`"
        )
    folder = own_tasks_folder(wildcards)
    found = Path(folder).rglob("*") if folder else ()
    return sorted(
        str(path)
        for path in found
        if path.is_file() and "__pycache__" not in path.parts
    )
