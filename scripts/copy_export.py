"""Copy an exported model into a folder of the user's."""

import shutil
from pathlib import Path

from modeledit.io.files import write_text
from modeledit.io.log import journal
from modeledit.io.refusal import Refusal
from modeledit.io.seals import sealed
from modeledit.study.own_facts import takes_export


def copy_export(exported: Path, folder: Path, output: Path) -> None:
    """Copy the files of `exported` into `folder`, over an earlier export if one is there.

    Refusal where the folder holds anything else. `output` says which folder it is.
    """
    if not takes_export(folder):
        raise Refusal(
            f"{folder}: it is there and holds no earlier export; name a folder that does not exist "
            "yet in facts.export"
        )
    shutil.copytree(exported, folder, dirs_exist_ok=True)
    write_text(output, f"{folder.absolute()}\n")


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        copy_export(
            Path(snakemake.input[0]),
            Path(snakemake.params.folder),
            Path(snakemake.output[0]),
        )
