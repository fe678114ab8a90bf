"""Cholesky factors of the covariances, one per layer, for every method, trial and iteration."""

from pathlib import Path

import torch

from modeledit.covariance import factorize
from modeledit.devices import prepare_device
from modeledit.files import read_json
from modeledit.journal import journal
from modeledit.state import read_matrices, write_matrices

with journal(snakemake.log[0]) as log:
    device = prepare_device(snakemake.params.compute["device"], snakemake.threads)
    base = read_json(Path(snakemake.input.model) / "prepared.json")["weights_sha256"]
    recipe = snakemake.params.recipe | {"base": base}
    covariances = read_matrices(Path(snakemake.input.covariance), recipe)
    factors = {}
    for name, matrix in covariances.items():
        covariance = torch.from_numpy(matrix).to(device)
        factors[name] = factorize(covariance, int(name.removeprefix("layer"))).cpu().numpy()
        log.info("%s: factorised, %d x %d", name, *matrix.shape)
    write_matrices(Path(snakemake.output[0]), factors, recipe)
