"""Raw scores of the unedited model: row k = 0 of every run."""

import logging
from dataclasses import dataclass
from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.data.requests import read_requests
from modeledit.io.files import read_texts
from modeledit.io.frames import write_parquet
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.lm import scoring
from modeledit.lm.budget import token_budget
from modeledit.lm.device import prepare_device
from modeledit.lm.limits import check_lengths
from modeledit.lm.model import load_model
from modeledit.study.settings import TokenBudget
from modeledit.study.switches import ScoringSwitches

log = logging.getLogger("modeledit")


@dataclass(frozen=True)
class Inputs:
    """Requests of a trial, texts of ME-PPL, and the folder of a prepared model."""

    requests: Path
    texts: Path
    model: Path


def score_unedited(
    inputs: Inputs, switches: ScoringSwitches, tokens: TokenBudget, device: str, output: Path
) -> None:
    """Write what the unedited model says of all prompts and texts."""
    requests, texts = read_requests(inputs.requests), read_texts(inputs.texts)
    model, tokenizer = load_model(inputs.model, device)
    check_lengths(model, tokenizer, requests, texts)
    budget = token_budget(tokens, model)
    table = scoring.score_unedited(model, tokenizer, requests, switches, texts, budget)
    log.info("%d rows of scores", table.num_rows)
    write_parquet(output, table)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params = snakemake.params
        score_unedited(
            Inputs(**{name: Path(path) for name, path in snakemake.input.items()}),
            params.switches,
            snakemake.resources.token_budget or "auto",
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Path(snakemake.output[0]),
        )
