"""Metrics of one run, from its raw scores alone."""

from pathlib import Path

import pandas as pd

from modeledit.evaluation.metrics import Scoring, read_scores, request_metrics, run_metrics
from modeledit.io.files import finished
from modeledit.io.log import journal
from modeledit.study.layout import RunKey
from modeledit.study.methods import METHODS

with journal(snakemake.log[0]):
    wildcards, scoring = snakemake.wildcards, Scoring.of(snakemake.params.switches)
    paths = [snakemake.input.unedited, *snakemake.input.scores]
    scores = {k: read_scores(path) for k, path in enumerate(paths)}
    edits = {k: pd.read_parquet(path) for k, path in enumerate(snakemake.input.edits, start=1)}
    requests = {
        k: request_metrics(frame, scores[0] if k else None, scoring.accuracy, scoring.success)
        for k, frame in scores.items()
        if not frame.empty
    }
    metrics = run_metrics(
        scores,
        edits,
        requests,
        run=RunKey(wildcards.dataset, wildcards.model, wildcards.method, int(wildcards.trial)),
        scoring=scoring,
        sequential=METHODS[wildcards.method].write == "rank_one",
    )
    with finished(Path(snakemake.output.metrics)) as path:
        metrics.to_csv(path, index=False)
    with finished(Path(snakemake.output.requests)) as path:
        pd.concat([rows.assign(k=k) for k, rows in requests.items()], ignore_index=True).to_parquet(
            path, index=False
        )
