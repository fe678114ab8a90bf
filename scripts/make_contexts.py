"""Sample the context templates of a model once; every edit and iteration reuses them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.io.files import write_json
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.lm.contexts import generate_contexts
from modeledit.lm.device import prepare_device
from modeledit.lm.model import load_model


def make_contexts(
    folder: Path,
    sets: Mapping[str, Sequence[tuple[int, int]]],
    seed: int,
    device: str,
    output: Path,
) -> None:
    """Write the templates of every set, {name: (tokens, prefixes per seed word)}."""
    model, tokenizer = load_model(folder, device)
    templates = {
        name: generate_contexts(model.model, tokenizer, lengths, seed)
        for name, lengths in sets.items()
    }
    write_json(output, {"seed": seed, "templates": templates})


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params = snakemake.params
        make_contexts(
            Path(snakemake.input.model),
            params.sets,
            params.seed,
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Path(snakemake.output[0]),
        )
