"""Gather the second moments of the keys of all edited layers in one pass."""

from pathlib import Path

from modeledit.covariance import second_moments
from modeledit.devices import prepare_device
from modeledit.files import read_json, read_texts
from modeledit.journal import journal, progress
from modeledit.models import load_model
from modeledit.state import write_matrices

with journal(snakemake.log[0]) as log:
    compute = snakemake.params.compute
    device = prepare_device(compute["device"], snakemake.threads)
    folder = Path(snakemake.input.model)
    model, tokenizer = load_model(folder, device)
    texts = read_texts(Path(snakemake.input.text))
    with progress(len(texts), "text") as bar:
        moments, tokens = second_moments(
            model,
            tokenizer,
            texts,
            snakemake.params.layers,
            snakemake.params.max_length,
            bar.update,
        )
    log.info("%d tokens of %d texts", tokens, len(texts))
    write_matrices(
        Path(snakemake.output[0]),
        {f"layer{layer}": matrix.numpy() for layer, matrix in moments.items()},
        {
            "base": read_json(folder / "prepared.json")["weights_sha256"],
            "tokens": str(tokens),
            "max_length": str(snakemake.params.max_length),
        },
    )
