"""Ask an edited model the facts of its panel again."""

from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.data.requests import Neighbor
from modeledit.editing.held import Held
from modeledit.evaluation.schemas import PANEL
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.lm.budget import token_budget
from modeledit.lm.device import prepare_device
from modeledit.lm.panel import ask_panel as ask
from modeledit.study.settings import TokenBudget


def ask_panel(panel: Path, held: Held, tokens: TokenBudget, device: str, output: Path) -> None:
    """Write what the model says of the facts in `panel` as an iteration left it."""
    known = PANEL.read(panel)
    pairs = zip(known["prompt"], known["object"], strict=True)
    facts = [Neighbor(prompt, None, target) for prompt, target in pairs]
    model, tokenizer = held.load(device)
    said = ask(model, tokenizer, facts, token_budget(tokens, model))
    PANEL.write(output, said.assign(subject=known["subject"]))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params, given = snakemake.params, snakemake.input
        ask_panel(
            Path(given.panel),
            Held.of(given, snakemake.wildcards),
            snakemake.resources.token_budget or "auto",
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Path(snakemake.output[0]),
        )
