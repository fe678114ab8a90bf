"""What a model says of the probes of a trial: their scores, and what it says by itself."""

from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.data.probes import read_probes
from modeledit.editing.held import load_held
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


def ask_probes(
    probes: Path,
    model: Path,
    state: Path | None,
    method: str,
    part: Probes,
    switches: ScoringSwitches,
    tokens: TokenBudget,
    device: str,
    scores: Path,
    generations: Path,
) -> None:
    """Write raw scores of the probes and their continuations; `state` None: unedited."""
    asked = read_probes(probes)
    loaded, tokenizer = load_held(model, state, method, device)
    budget = token_budget(tokens, loaded)
    prompts = probe_prompts(asked)
    said = sayings(loaded, tokenizer, prompts, part.tokens, budget)
    write_parquet(scores, score_probes(loaded, tokenizer, asked, switches, budget))
    write_parquet(generations, said)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params, given = snakemake.params, snakemake.input
        ask_probes(
            Path(given.probes),
            Path(given.model),
            Path(given.state) if given.get("state") else None,
            snakemake.wildcards.get("method", ""),
            params.part,
            params.switches,
            snakemake.resources.token_budget or "auto",
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Path(snakemake.output.scores),
            Path(snakemake.output.generations),
        )
