"""What a model says of the probes of a trial: their scores, and what it says by itself."""

from dataclasses import dataclass
from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.data.probes import read_probes
from modeledit.editing.held import Held
from modeledit.io.frames import write_parquet
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.lm.budget import token_budget
from modeledit.lm.device import prepare_device
from modeledit.lm.sayings import probe_prompts, sayings
from modeledit.lm.scoring import score_probes
from modeledit.study.observation import Probes
from modeledit.study.settings import TokenBudget
from modeledit.study.switches import ScoringSwitches


@dataclass(frozen=True)
class Outputs:
    """Raw scores of the probes, and what the model says by itself after them."""

    scores: Path
    generations: Path


def ask_probes(
    probes: Path,
    held: Held,
    part: Probes,
    switches: ScoringSwitches,
    tokens: TokenBudget,
    device: str,
    outputs: Outputs,
) -> None:
    """Write raw scores of the probes and their continuations, of a state of a model."""
    asked = read_probes(probes)
    loaded, tokenizer = held.load(device)
    budget = token_budget(tokens, loaded)
    prompts = probe_prompts(asked)
    said = sayings(loaded, tokenizer, prompts, part.tokens, budget)
    write_parquet(outputs.scores, score_probes(loaded, tokenizer, asked, switches, budget))
    write_parquet(outputs.generations, said)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params, given = snakemake.params, snakemake.input
        ask_probes(
            Path(given.probes),
            Held.of(given, snakemake.wildcards),
            params.part,
            params.switches,
            snakemake.resources.token_budget or "auto",
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Outputs(Path(snakemake.output.scores), Path(snakemake.output.generations)),
        )
