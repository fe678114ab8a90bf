"""Tasks of lm-evaluation-harness on a model's folder, edited and exported or not."""

from pathlib import Path

import modeledit.lm.libraries  # noqa: F401, first: see there
from modeledit.io.files import optional_path, write_json
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.lm.device import prepare_device
from modeledit.lm.harness import run_tasks
from modeledit.study.observation import Harness


def run_harness(
    model: Path, asked: Harness, include: Path | None, device: str, output: Path
) -> None:
    """Write the results of the tasks that `evaluation.harness` names."""
    write_json(output, run_tasks(model, asked, include, device))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        params = snakemake.params
        run_harness(
            Path(snakemake.input.model),
            params.asked,
            optional_path(params.include),
            prepare_device(params.device, snakemake.threads, params.deterministic),
            Path(snakemake.output[0]),
        )
