# Which jobs a study has, by the files that they leave, for the plan alone (plan.smk).

from modeledit.planning.plan import needed_downloads


def planned_files(wildcards):
    """{rule: {key: a file of each job}}, without the edits; a key is a model, a download, ..."""
    published = COVARIANCE["source"] == "authors"
    covariance = "convert_covariance" if published else "gather_covariance"
    files = {
        "download": {(n,): downloaded(n) for n in needed_downloads(SETTINGS)},
        "prepare_model": {(m,): f"resources/models/{m}" for m in SETTINGS.models},
        "make_contexts": {},
        covariance: {},
        "factorize_covariance": {},
        "requests": {(path,): path for path in every_trial_file()},
        "find_eligible": {},
        "score_unedited": {},
        "evaluate_run": {},
    }
    for model in SETTINGS.models:
        folder = STATISTICS.format(model=model)
        files["make_contexts"][model,] = f"{folder}/contexts.json"
        if SETTINGS.layers(model):
            files[covariance][model,] = f"{folder}/covariance.safetensors"
            files["factorize_covariance"][model,] = f"{folder}/factors.safetensors"
    for run in SETTINGS.runs:
        key = run.dataset, run.model, run.trial
        eligible = run.dataset.endswith(ELIGIBLE)
        if eligible and not SETTINGS.authors_set(run.dataset, run.model):
            files["find_eligible"][key] = requests_of_run(run)
        files["score_unedited"][key] = rules.score_unedited.output[0].format(
            **vars(run)
        )
        files["evaluate_run"][*key, run.method] = f"{RUN}/metrics.csv".format(
            **vars(run)
        )
    return {rule: jobs for rule, jobs in files.items() if jobs}


def planned_paper(wildcards):
    """Every file that `all` asks for."""
    return sorted({str(path) for path in rules.all.input if isinstance(path, str)})


def planned_chains(wildcards):
    """Of each run: the run, its requests, and the states of its iterations in order."""
    return [
        (
            run,
            requests_of_run(run),
            [
                f"{RUN}/iter{k}/state.json".format(**vars(run))
                for k in range(1, last_iteration(run) + 1)
            ],
        )
        for run in SETTINGS.runs
    ]
