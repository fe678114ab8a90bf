"""Fetch one published file, with a record of where it is from."""

from pathlib import Path

from modeledit.fetch.download import fetch, offline_folder
from modeledit.io.files import write_json
from modeledit.io.log import journal
from modeledit.study.published_files import Source

with journal(snakemake.log[0]):
    source = Source(**snakemake.params.source)
    offline = offline_folder(snakemake.config.get("offline"))
    record = fetch(source, Path(snakemake.output.file), offline)
    write_json(Path(snakemake.output.record), record)
