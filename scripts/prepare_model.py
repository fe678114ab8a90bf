"""Prepare a model folder: float32 safetensors, tokenizer, and prepared.json with digests."""

import logging
from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.fetch.origin import fetch_origin
from modeledit.io.files import optional_path, writing
from modeledit.io.log import journal
from modeledit.lm.prepare import emptied, prepare_folder
from modeledit.study.models import ModelShape, ModelSource, source_of

log = logging.getLogger("modeledit")


def prepare_model(
    source: ModelSource, given: Path | None, expected: ModelShape, folder: Path
) -> None:
    """Fetch a model and write its `folder`; `given` is the file or folder that `source` names."""
    with writing(folder), emptied(folder.with_name(f".{folder.name}.source")) as place:
        origin = fetch_origin(source, given, place)
        log.info("converting %s", origin.name)
        record = prepare_folder(origin, folder, expected, source.weights)
    log.info("prepared: sha256 of the weights %s", record.weights_sha256)
    log.info(
        "%d log-probabilities differ by up to %.1e between the engine and transformers",
        record.agreement.log_probabilities,
        record.agreement.largest_difference,
    )


if __name__ == "__main__":
    with journal(snakemake.log[0]):
        prepare_model(
            source_of(snakemake.params.source),
            optional_path(snakemake.params.path),
            ModelShape(**snakemake.params.expected),
            Path(snakemake.output.folder),
        )
