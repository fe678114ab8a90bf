"""What every iteration ran on, in one file."""

from pathlib import Path

from modeledit.files import finished
from modeledit.hardware import gather
from modeledit.journal import journal

with journal(snakemake.log[0]), finished(Path(snakemake.output[0])) as path:
    gather(snakemake.input).to_csv(path, index=False)
