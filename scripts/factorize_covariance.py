"""Cholesky factors of the covariances, one per layer, for every method, trial and iteration."""

from pathlib import Path

from modeledit.editing.covariance_files import factors_of
from modeledit.io.files import read_json
from modeledit.io.log import journal
from modeledit.io.matrices import read_matrices, write_matrices
from modeledit.lm.device import prepare_device

with journal(snakemake.log[0]):
    compute = snakemake.params.compute
    device = prepare_device(compute["device"], snakemake.threads, compute["deterministic"])
    base = read_json(Path(snakemake.input.model) / "prepared.json")["weights_sha256"]
    recipe = snakemake.params.recipe | {"base": base}
    factors, ridges = factors_of(read_matrices(Path(snakemake.input.covariance), recipe), device)
    write_matrices(Path(snakemake.output[0]), factors, recipe | ridges)
