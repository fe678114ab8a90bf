"""Write the merged configuration, the resolved switches and the models' descriptions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from modeledit.io.files import write_text
from modeledit.io.log import journal
from modeledit.io.seals import sealed


def write_config(
    config: Mapping[str, Any], switches: Mapping[str, Any], models: Mapping[str, Any], output: Path
) -> None:
    """Write all three into one YAML file; they are plain data."""
    merged = {"config": config, "switches": switches, "models": models}
    write_text(output, yaml.safe_dump(merged, sort_keys=False))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params = snakemake.params
        write_config(params.config, params.switches, params.models, Path(snakemake.output[0]))
