"""The authors' covariances of a model's edited layers, in one file as the pipeline reads it."""

from collections.abc import Mapping
from pathlib import Path

from modeledit.editing.covariance_files import published_covariance
from modeledit.io.log import journal
from modeledit.io.matrices import write_matrices
from modeledit.io.prepared import read_prepared
from modeledit.io.seals import sealed


def convert_covariance(
    published: Mapping[int, Path], model: Path, width: int, recipe: Mapping[str, str], output: Path
) -> None:
    """Write the covariances of all layers; `published` has a file of each, `width` is the keys'."""
    base = {"base": read_prepared(model).weights_sha256}
    write_matrices(output, *published_covariance(published, width, {**recipe, **base}))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        files = [Path(path) for path in snakemake.input.published]
        convert_covariance(
            dict(zip(snakemake.params.layers, files, strict=True)),
            Path(snakemake.input.model),
            snakemake.params.width,
            snakemake.params.recipe,
            Path(snakemake.output.covariance),
        )
