"""The authors' covariances of a model's edited layers, in one file as the pipeline reads it."""

from pathlib import Path

from modeledit.editing.covariance_files import read_published
from modeledit.io.files import read_json
from modeledit.io.log import journal
from modeledit.io.matrices import write_matrices

with journal(snakemake.log[0]) as log:
    base = read_json(Path(snakemake.input.model) / "prepared.json")["weights_sha256"]
    width = snakemake.params.shape["mlp_width"]
    matrices, counts = {}, {}
    for layer, path in zip(snakemake.params.layers, snakemake.input.published, strict=True):
        matrices[f"layer{layer}"], counts[layer] = read_published(Path(path), width)
        log.info("layer %d: %d tokens", layer, counts[layer])
    if len(set(counts.values())) > 1:
        raise ValueError(f"the layers' covariances are of different numbers of tokens: {counts}")
    tokens = {"tokens": str(counts[snakemake.params.layers[0]])}
    recipe = snakemake.params.recipe | {"base": base}
    write_matrices(Path(snakemake.output.covariance), matrices, recipe | tokens)
