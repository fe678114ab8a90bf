"""Choose the panel of a model: built-in facts that it knows before any edit."""

import logging
from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.data.geography_forms import panel
from modeledit.evaluation.schemas import PANEL
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.lm.budget import token_budget
from modeledit.lm.device import prepare_device
from modeledit.lm.model import load_model
from modeledit.lm.panel import ask_panel
from modeledit.study.settings import TokenBudget

log = logging.getLogger("modeledit")


def choose_panel(folder: Path, tokens: TokenBudget, device: str, output: Path) -> None:
    """Write those of the panel's facts that the prepared model in `folder` knows; maybe none."""
    model, tokenizer = load_model(folder, device)
    facts = panel()
    said = ask_panel(model, tokenizer, facts, token_budget(tokens, model))
    known = said[said["said"] == said["object"]].reset_index(drop=True)
    log.info("%d of %d facts are known", len(known), len(facts))
    PANEL.write(output, known)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params = snakemake.params
        choose_panel(
            Path(snakemake.input.model),
            snakemake.resources.token_budget or "auto",
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Path(snakemake.output[0]),
        )
