# What the rules of the judge ask.

JUDGE = CONFIG.evaluation.judge


def judge_files():
    """What the judge leaves of each run; the questions alone where nobody answers them."""
    if JUDGE is None:
        return []
    file = "judgements" if JUDGE.verdicts or JUDGE.server else "judge_prompts"
    return STUDY.reported(FILES.behavior(f"{file}.jsonl"))


def judged_generations(wildcards):
    """What the unedited model, k = 1 and the stop of a run say."""
    if JUDGE is None:
        raise WorkflowError("evaluation.judge: not in the configuration; give it there")
    file = "generations.parquet"
    found = [FILES.unedited_observed(file).format(**wildcards)]
    run = layout.Run(**{**wildcards, "trial": int(wildcards.trial)})
    for k in sorted(set(STUDY.observed.iterations(run))):
        found.append(FILES.observed(file).format(**wildcards, k=k))
    return found


def verdicts_file(wildcards):
    """The file of verdicts; nothing where a server is asked."""
    if JUDGE is None or not (JUDGE.verdicts or JUDGE.server):
        raise WorkflowError(
            "evaluation.judge: neither verdicts nor server; name one of the two, or ask for the"
            " questions alone, judge_prompts.jsonl"
        )
    return STUDY.in_project(JUDGE.verdicts) if JUDGE.verdicts else []
