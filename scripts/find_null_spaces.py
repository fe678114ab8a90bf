"""Null spaces of the covariances, one per layer, for every method, trial and iteration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.editing import matrix_names
from modeledit.editing.covariance import mean_squares
from modeledit.editing.null_space_files import find_null_spaces as found_in
from modeledit.evaluation.schemas import SPECTRA
from modeledit.io.files import read_texts
from modeledit.io.frames import write_csv
from modeledit.io.log import journal
from modeledit.io.matrices import LazyMatrices, write_matrices
from modeledit.io.prepared import read_prepared
from modeledit.io.seals import sealed
from modeledit.lm.device import prepare_device
from modeledit.lm.model import load_model
from modeledit.study.hyperparameters import Cut
from modeledit.study.memory import CHECKED_TOKENS


@dataclass(frozen=True)
class Inputs:
    """A file of covariances, the prepared model's folder, and a few texts for a check."""

    covariance: Path
    model: Path
    texts: Path


@dataclass(frozen=True)
class Outputs:
    """Matrices, a summary of each layer, and all eigenvalues."""

    matrices: Path
    summary: Path
    spectra: Path


def find_null_spaces(
    inputs: Inputs,
    recipe: Mapping[str, str],
    layers: Sequence[int],
    cut: Cut,
    device: str,
    outputs: Outputs,
) -> None:
    """Write the null spaces of `layers` of a file of covariances that was made of `recipe`."""
    recipe = {**recipe, "base": read_prepared(inputs.model).weights_sha256}
    model, tokenizer = load_model(inputs.model, device)
    width = model.mlp_width
    covariances = LazyMatrices(inputs.covariance, recipe, matrix_names.LAYER, layers, width)
    longest = min(CHECKED_TOKENS, model.limit.tokens) if model.limit else CHECKED_TOKENS
    squares = mean_squares(model, tokenizer, read_texts(inputs.texts), layers, longest)
    del model  # its memory is what the eigenvectors need
    found = found_in(covariances, squares, cut, device)
    write_matrices(outputs.matrices, found.matrices, recipe | found.metadata)
    write_csv(outputs.summary, found.summary)
    SPECTRA.write(outputs.spectra, found.spectra)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given, params = snakemake.input, snakemake.params
        find_null_spaces(
            Inputs(Path(given.covariance), Path(given.model), Path(given.texts)),
            params.recipe,
            params.layers,
            Cut(**params.cut),
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Outputs(**{name: Path(path) for name, path in snakemake.output.items()}),
        )
