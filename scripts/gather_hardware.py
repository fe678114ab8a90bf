"""What every iteration ran on, in one file."""

from pathlib import Path

from modeledit.io.files import finished
from modeledit.io.log import journal
from modeledit.presentation.hardware_table import gather

with journal(snakemake.log[0]), finished(Path(snakemake.output[0])) as path:
    gather(snakemake.input).to_csv(path, index=False)
