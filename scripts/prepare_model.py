"""Prepare a model folder: float32 safetensors, tokenizer, and prepared.json with digests."""

import logging
import tempfile
from pathlib import Path

from modeledit.fetch.origin import fetch_origin
from modeledit.io.files import optional_path
from modeledit.io.log import journal
from modeledit.lm.prepare import prepare_folder
from modeledit.study.models import ModelShape, ModelSource, source_of

log = logging.getLogger("modeledit")


def prepare_model(
    source: ModelSource, given: Path | None, expected: ModelShape, folder: Path
) -> None:
    """Fetch a model and write its `folder`; `given` is the file or folder that `source` names."""
    with tempfile.TemporaryDirectory() as scratch:
        origin = fetch_origin(source, given, Path(scratch))
        log.info("converting %s", origin.name)
        record = prepare_folder(origin, folder, vars(expected), source.weights)
    log.info("prepared: sha256 of the weights %s", record["weights_sha256"])


if __name__ == "__main__":
    with journal(snakemake.log[0]):
        prepare_model(
            source_of(snakemake.params.source),
            optional_path(snakemake.input.get("source")),
            ModelShape(**snakemake.params.expected),
            Path(snakemake.output.folder),
        )
