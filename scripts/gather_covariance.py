"""Gather the second moments of the keys of all edited layers in one pass."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.editing.covariance_files import Partial, covariance_of
from modeledit.io.log import journal
from modeledit.io.matrices import write_matrices
from modeledit.io.prepared import read_prepared
from modeledit.io.seals import sealed
from modeledit.lm.device import prepare_device
from modeledit.lm.model import load_model


def gather_covariance(
    texts: Sequence[Path],
    folder: Path,
    layers: Sequence[int],
    recipe: Mapping[str, str],
    every: int,
    device: str,
    output: Path,
) -> None:
    """Write the covariance of `layers` as `recipe` says, for the prepared model in `folder`.

    Partial sums are kept beside `output` after every so many texts, until it is there.
    """
    model, tokenizer = load_model(folder, device)
    recipe = {**recipe, "base": read_prepared(folder).weights_sha256}
    partial = output.with_suffix(".partial.safetensors")
    moments = covariance_of(model, tokenizer, texts, layers, recipe, Partial(partial, every))
    write_matrices(output, *moments)
    partial.unlink(missing_ok=True)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params = snakemake.params
        gather_covariance(
            [Path(path) for path in snakemake.input.text],
            Path(snakemake.input.model),
            params.layers,
            params.recipe,
            params.every,
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Path(snakemake.output.covariance),
        )
