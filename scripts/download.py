"""Fetch one published file, with a record of where it is from."""

from pathlib import Path

from modeledit.fetch.download import fetch, offline_folder
from modeledit.io.files import write_json
from modeledit.io.log import journal
from modeledit.study.published_files import Source


def download(source: Source, offline: Path | None, output: Path, record: Path) -> None:
    """Put the file at `output`, from the folder `offline` where it is in there."""
    write_json(record, fetch(source, output, offline))


if __name__ == "__main__":
    with journal(snakemake.log[0]):
        download(
            Source(**snakemake.params.source),
            offline_folder(snakemake.config.get("offline")),
            Path(snakemake.output.file),
            Path(snakemake.output.record),
        )
