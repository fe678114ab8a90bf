"""Split a dataset into disjoint trials."""

from pathlib import Path

from modeledit.data.requests import read_requests, write_requests
from modeledit.data.trials import split_trials
from modeledit.io.log import journal

with journal(snakemake.log[0]):
    requests = read_requests(Path(snakemake.input[0]))
    trials = split_trials(
        requests, len(snakemake.output), snakemake.params.size, snakemake.params.seed
    )
    for path, trial in zip(snakemake.output, trials, strict=True):
        write_requests(Path(path), trial)
