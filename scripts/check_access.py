"""Ask the hub for a gated model's configuration, so that a missing token shows at once."""

from pathlib import Path

from modeledit.fetch import hub
from modeledit.io.files import write_text
from modeledit.io.log import journal
from modeledit.study.models import HubSource, source_of


def check_access(source: HubSource, output: Path) -> None:
    """Leave the model's name and revision in `output` if it may be fetched; HubError if not."""
    hub.check_access(source.repo, source.revision, source.gated)
    write_text(output, f"{source.repo}@{source.revision}\n")


if __name__ == "__main__":
    with journal(snakemake.log[0]):
        check_access(source_of(snakemake.params.source), Path(snakemake.output[0]))
