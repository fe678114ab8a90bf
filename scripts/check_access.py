"""Ask the hub for a gated model's configuration, so that a missing token shows at once."""

from pathlib import Path

from modeledit.fetch.hub import check_access
from modeledit.io.files import finished
from modeledit.io.log import journal

with journal(snakemake.log[0]), finished(Path(snakemake.output[0])) as path:
    source = snakemake.params.source
    check_access(source["repo"], source["revision"], source["gated"])
    path.write_text(f"{source['repo']}@{source['revision']}\n", encoding="utf-8")
