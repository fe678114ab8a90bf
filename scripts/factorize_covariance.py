"""Cholesky factors of the covariances, one per layer, for every method, trial and iteration."""

from collections.abc import Mapping
from pathlib import Path

from modeledit.editing.factors import factors_of
from modeledit.io.log import journal
from modeledit.io.matrices import read_matrices, write_matrices
from modeledit.io.prepared import read_prepared
from modeledit.io.seals import sealed
from modeledit.lm.device import prepare_device


def factorize_covariance(
    covariance: Path, model: Path, recipe: Mapping[str, str], device: str, output: Path
) -> None:
    """Write the factors of a file of covariances that was made of `recipe` for `model`."""
    recipe = {**recipe, "base": read_prepared(model).weights_sha256}
    factors, ridges = factors_of(read_matrices(covariance, recipe), device)
    write_matrices(output, factors, recipe | ridges)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params = snakemake.params
        factorize_covariance(
            Path(snakemake.input.covariance),
            Path(snakemake.input.model),
            params.recipe,
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Path(snakemake.output[0]),
        )
