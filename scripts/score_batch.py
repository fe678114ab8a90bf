"""Raw scores of everything edited so far, and the weights' norms, after a batch of a sequence."""

import logging
from dataclasses import dataclass
from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.data.requests import read_requests
from modeledit.data.trials import check_batches
from modeledit.editing.job import load_edited
from modeledit.editing.weight_norms import weight_norms
from modeledit.evaluation.schemas import RAW_SCORES
from modeledit.io.files import file_digest, read_texts
from modeledit.io.frames import write_csv, write_parquet
from modeledit.io.log import journal
from modeledit.io.matrices import read_matrices
from modeledit.io.prepared import read_prepared
from modeledit.io.seals import sealed
from modeledit.lm import scoring
from modeledit.lm.budget import token_budget
from modeledit.lm.device import prepare_device
from modeledit.lm.model import load_model
from modeledit.study.settings import TokenBudget
from modeledit.study.switches import ScoringSwitches

log = logging.getLogger("modeledit")


@dataclass(frozen=True)
class Inputs:
    """Requests of the trial, texts of ME-PPL, a prepared model, its matrices after the batch.

    `unedited` (scores) where specificity is judged on the model's own answers.
    """

    requests: Path
    texts: Path
    model: Path
    edited: Path
    unedited: Path | None = None


@dataclass(frozen=True)
class After:
    """What left the matrices: a method, after its batch number `batch`, of batches of a size."""

    method: str
    batch: int
    size: int


def score_batch(
    inputs: Inputs,
    after: After,
    switches: ScoringSwitches,
    tokens: TokenBudget,
    device: str,
    scores: Path,
    norms: Path,
) -> None:
    """Write what the model says after a batch, and how far its weights have moved.

    Raises StateError where the matrices were left by another sequence or batch.
    """
    every = read_requests(inputs.requests)
    check_batches(inputs.requests, len(every), after.size, after.batch)
    requests, texts = every[: after.batch * after.size], read_texts(inputs.texts)
    model, tokenizer = load_model(inputs.model, device)
    own = None
    if inputs.unedited:
        own = scoring.own_objects(RAW_SCORES.read_table(inputs.unedited), tokenizer)
    expected = {
        "base": read_prepared(inputs.model).weights_sha256,
        "requests": file_digest(inputs.requests),
        "method": after.method,
        "batch": f"{after.batch} of {after.size}",
    }
    write_csv(norms, weight_norms(model, read_matrices(inputs.edited, expected)))
    load_edited(model, inputs.edited, expected)
    budget = token_budget(tokens, model)
    table = scoring.score(model, tokenizer, requests, switches, texts, budget, own)
    log.info("%d requests, %d rows of scores", len(requests), table.num_rows)
    write_parquet(scores, table)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params, at = snakemake.params, snakemake.wildcards
        score_batch(
            Inputs(**{name: Path(path) for name, path in snakemake.input.items() if path}),
            After(at.method, int(at.batch), int(at.size)),
            params.switches,
            snakemake.resources.token_budget or "auto",
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Path(snakemake.output.scores),
            Path(snakemake.output.norms),
        )
