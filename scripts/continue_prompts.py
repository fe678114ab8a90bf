"""What a model says by itself after the prompts of a trial's requests, or about their subjects."""

from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.data.requests import read_requests
from modeledit.editing.held import Held
from modeledit.io.frames import write_parquet
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.lm import sayings
from modeledit.lm.budget import token_budget
from modeledit.lm.device import prepare_device
from modeledit.study.observation import Fluency, Generation
from modeledit.study.settings import TokenBudget
from modeledit.study.switches import ScoringSwitches


def continue_prompts(
    requests: Path,
    held: Held,
    part: Generation | Fluency,
    switches: ScoringSwitches,
    tokens: TokenBudget,
    device: str,
    output: Path,
) -> None:
    """Write the continuations that a part of `evaluation` asks for, of a state of a model."""
    read = read_requests(requests)
    loaded, tokenizer = held.load(device)
    if isinstance(part, Fluency):
        prompts = sayings.subject_prompts(read, part.prompts)
    else:
        prompts = sayings.request_prompts(read, tokenizer, switches)
    budget = token_budget(tokens, loaded)
    write_parquet(output, sayings.sayings(loaded, tokenizer, prompts, part.tokens, budget))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params, given = snakemake.params, snakemake.input
        continue_prompts(
            Path(given.requests),
            Held.of(given, snakemake.wildcards),
            params.part,
            params.switches,
            snakemake.resources.token_budget or "auto",
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Path(snakemake.output[0]),
        )
