"""Cholesky factors of the covariances, one per layer, for every method, trial and iteration."""

from pathlib import Path

from modeledit.covariance_sources import factors_of
from modeledit.devices import prepare_device
from modeledit.files import read_json
from modeledit.journal import journal
from modeledit.state import read_matrices, write_matrices

with journal(snakemake.log[0]):
    compute = snakemake.params.compute
    device = prepare_device(compute["device"], snakemake.threads, compute["deterministic"])
    base = read_json(Path(snakemake.input.model) / "prepared.json")["weights_sha256"]
    recipe = snakemake.params.recipe | {"base": base}
    factors, ridges = factors_of(read_matrices(Path(snakemake.input.covariance), recipe), device)
    write_matrices(Path(snakemake.output[0]), factors, recipe | ridges)
