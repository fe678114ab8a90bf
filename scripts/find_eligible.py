"""Find the neighbors that the unedited model knows, and the requests that have enough of them."""

from pathlib import Path

from modeledit.devices import prepare_device
from modeledit.eligibility import judge_neighbors, select_eligible
from modeledit.files import finished
from modeledit.journal import journal
from modeledit.models import load_model
from modeledit.requests import read_requests, write_requests

with journal(snakemake.log[0]) as log:
    compute = snakemake.params.compute
    device = prepare_device(compute["device"], snakemake.threads)
    requests = read_requests(Path(snakemake.input.requests))
    model, tokenizer = load_model(Path(snakemake.input.model), device)
    positions = snakemake.params.eval_positions
    verdicts = judge_neighbors(model, tokenizer, requests, compute["token_budget"], positions)
    eligible, summary = select_eligible(requests, verdicts)
    log.info(
        "%d of %d neighbors survive, %d of %d requests are eligible",
        verdicts["survives"].sum(),
        len(verdicts),
        len(eligible),
        len(requests),
    )
    if not eligible:
        raise ValueError(
            f"{snakemake.input.requests}: no request has two neighbors that the model knows; "
            "take larger trials, other facts or another model"
        )
    write_requests(Path(snakemake.output.requests), eligible)
    for frame, path in ((verdicts, snakemake.output.verdicts), (summary, snakemake.output.summary)):
        with finished(Path(path)) as temporary:
            frame.to_csv(temporary, index=False)
