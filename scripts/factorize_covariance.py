"""Cholesky factors of the covariances, one per layer, for every method, trial and iteration."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from modeledit.editing.factors import factors_of
from modeledit.editing.matrix_names import layer_name
from modeledit.io.log import journal
from modeledit.io.matrices import read_matrices, write_matrices
from modeledit.io.prepared import read_prepared
from modeledit.io.seals import sealed
from modeledit.lm.device import prepare_device


def factorize_covariance(
    covariance: Path,
    model: Path,
    layers: Sequence[int],
    recipe: Mapping[str, str],
    device: str,
    output: Path,
) -> None:
    """Write the factors of `layers` of a file of covariances, made of `recipe` for `model`."""
    recipe = {**recipe, "base": read_prepared(model).weights_sha256}
    covariances = read_matrices(covariance, recipe, [layer_name(layer) for layer in layers])
    factors, ridges = factors_of(covariances, device)
    write_matrices(output, factors, recipe | ridges)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params = snakemake.params
        factorize_covariance(
            Path(snakemake.input.covariance),
            Path(snakemake.input.model),
            params.layers,
            params.recipe,
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Path(snakemake.output[0]),
        )
