"""Write the merged configuration, the resolved switches and the models' descriptions."""

from pathlib import Path

import yaml

from modeledit.io.files import finished
from modeledit.io.log import journal

with journal(snakemake.log[0]), finished(Path(snakemake.output[0])) as path:
    merged = {name: snakemake.params[name] for name in ("config", "switches", "models")}
    path.write_text(yaml.safe_dump(merged, sort_keys=False), encoding="utf-8")
