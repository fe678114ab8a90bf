"""Gather the second moments of the keys of all edited layers in one pass."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.editing.covariance_files import Partial, covariance_of, gathered_already
from modeledit.io.log import journal
from modeledit.io.matrices import write_matrices
from modeledit.io.prepared import read_prepared
from modeledit.io.seals import sealed
from modeledit.lm.device import prepare_device
from modeledit.lm.model import load_model

log = logging.getLogger("modeledit")


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

    That of another study is taken where one was gathered by the same recipe. Partial sums are kept
    beside `output` after every so many texts, until it is there.
    """
    recipe = {**recipe, "base": read_prepared(folder).weights_sha256}
    if known := gathered_already(of_other_studies(output), layers, recipe):
        path, *moments = known
        log.info("%s was gathered by the same recipe and is taken", path)
        write_matrices(output, *moments)
        return
    model, tokenizer = load_model(folder, device)
    partial = output.with_suffix(".partial.safetensors")
    moments = covariance_of(model, tokenizer, texts, layers, recipe, Partial(partial, every))
    write_matrices(output, *moments)
    partial.unlink(missing_ok=True)


def of_other_studies(output: Path) -> list[Path]:
    """Covariances of the same model that other studies have, beside `output` of this one."""
    study, results = output.parents[2], output.parents[3]
    return sorted(results.glob(f"*/{output.relative_to(study)}"))


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
