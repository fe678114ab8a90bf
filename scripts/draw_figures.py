"""Figure 3 (one edit's perplexity over the stages) and Figure 4 (UnderEdit edits against all)."""

from pathlib import Path

import pandas as pd

from modeledit.data.requests import read_requests
from modeledit.evaluation.metrics import underedit
from modeledit.io.log import journal
from modeledit.presentation.figures.perplexity_stages import figure_perplexity_stages, pick_request
from modeledit.presentation.figures.underedit import figure_underedit, pool_trials
from modeledit.presentation.wording import describe_dataset, small_model_note
from modeledit.study.layout import RunKey, iteration_of


def by_iteration(paths: list[str]) -> dict[int, dict[int, pd.DataFrame]]:
    """{trial: {k: edits}} of the iterations that were run."""
    found: dict[int, dict[int, pd.DataFrame]] = {}
    for path in paths:
        run, k = iteration_of(Path(path))
        frame = pd.read_parquet(path)
        if not frame.empty:
            found.setdefault(run.trial, {})[k] = frame
    return found


with journal(snakemake.log[0]):
    edits = by_iteration(snakemake.input.edits)
    requests = {}
    for path in snakemake.input.requests:
        frame = pd.read_parquet(path)
        requests[RunKey.of(Path(path)).trial] = {k: rows for k, rows in frame.groupby("k") if k > 0}
    note = small_model_note(snakemake.params.small)
    chosen = pick_request(edits[1], underedit(requests[1][1]))
    facts = {r.id: r for r in read_requests(Path(snakemake.input.first_trial))}
    fact = facts[chosen]
    figure_perplexity_stages(
        edits[1],
        snakemake.output.stages,
        request=chosen,
        label=f"{fact.subject}: {fact.target_true} → {fact.target_new}",
        epsilon=snakemake.params.epsilon,
        note=note,
    )
    wildcards = snakemake.wildcards
    title = snakemake.params.titles[wildcards.model]
    figure_underedit(
        pool_trials(requests),
        pool_trials(edits),
        snakemake.output.underedit,
        epsilon=snakemake.params.epsilon,
        title=f"{wildcards.method} on {title}, {describe_dataset(wildcards.dataset)}",
        note=note,
    )
