"""How far an edited model's next-token distributions have moved on the texts of ME-PPL."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.editing.held import Held
from modeledit.evaluation.schemas import DRIFT
from modeledit.io.files import read_texts
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.lm.budget import token_budget
from modeledit.lm.device import prepare_device
from modeledit.lm.drift import drift, outputs
from modeledit.lm.model import load_model
from modeledit.lm.scoring import text_rows
from modeledit.study.settings import TokenBudget


def measure_drift(
    texts: Path,
    held: Held,
    tokens: TokenBudget,
    device: str,
    output: Path,
) -> None:
    """Write the drift of each text from the unedited model to what the iteration left."""
    loaded, tokenizer = load_model(held.base, device)
    rows = text_rows(tokenizer, read_texts(texts))
    budget = token_budget(tokens, loaded)
    unedited = outputs(loaded, rows, budget)
    held.put(loaded)
    edited = outputs(loaded, rows, budget)
    found = drift(loaded, rows, unedited, edited)
    DRIFT.write(output, pd.DataFrame([{"text": i} | asdict(one) for i, one in enumerate(found)]))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params, given = snakemake.params, snakemake.input
        measure_drift(
            Path(given.texts),
            Held.of(given, snakemake.wildcards),
            snakemake.resources.token_budget or "auto",
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Path(snakemake.output[0]),
        )
