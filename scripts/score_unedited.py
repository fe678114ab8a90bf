"""Raw scores of the unedited model: row k = 0 of every run."""

from pathlib import Path

import pyarrow.parquet as pq

from modeledit.data.requests import read_requests
from modeledit.io.files import finished, read_texts
from modeledit.io.log import journal
from modeledit.lm.device import prepare_device
from modeledit.lm.model import load_model
from modeledit.lm.scoring import ScoringSettings, score_unedited

with journal(snakemake.log[0]) as log:
    compute = snakemake.params.compute
    device = prepare_device(compute["device"], snakemake.threads, compute["deterministic"])
    requests = read_requests(Path(snakemake.input.requests))
    model, tokenizer = load_model(Path(snakemake.input.model), device)
    texts = read_texts(Path(snakemake.input.texts))
    settings = ScoringSettings.of(snakemake.params.switches)
    budget = snakemake.resources.token_budget
    table = score_unedited(model, tokenizer, requests, texts, budget, settings)
    log.info("%d rows of scores", table.num_rows)
    with finished(Path(snakemake.output[0])) as path:
        pq.write_table(table, path)
