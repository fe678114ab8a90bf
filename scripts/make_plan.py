"""What the study will cost and what is missing: printed, and written beside the results."""

from collections.abc import Sequence
from pathlib import Path

from modeledit.io.files import write_json, write_text
from modeledit.io.log import journal
from modeledit.planning.survey import survey
from modeledit.study.inventory import Inventory


def make_plan(study: Inventory, paper: Sequence[Path]) -> None:
    """Print the plan, and write plan.txt and plan.json; `paper` are the files of the paper's."""
    found = survey(study, paper)
    print(found.text, flush=True)
    write_text(Path(study.files.overall("plan.txt")), found.text)
    write_json(Path(study.files.overall("plan.json")), found.facts)


if __name__ == "__main__":
    with journal(snakemake.log[0]):
        make_plan(snakemake.params.study, [Path(path) for path in snakemake.params.paper])
