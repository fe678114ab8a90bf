"""Questions to a judge about what a run's model says in its states."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from modeledit.data.requests import read_requests
from modeledit.evaluation.judgements import SAID_COLUMNS, questions, write_questions
from modeledit.evaluation.schemas import GENERATIONS
from modeledit.io.log import journal
from modeledit.io.seals import sealed

log = logging.getLogger("modeledit")


def write_judge_prompts(
    requests: Path, generations: Sequence[Path], kinds: Collection[str], output: Path
) -> None:
    """Write the distinct questions about the continuations of these `kinds` of prompts."""
    objects = {request.id: request.target_new for request in read_requests(requests)}
    found = questions(
        [GENERATIONS.read(path, SAID_COLUMNS) for path in generations], objects, kinds
    )
    log.info("%d distinct questions", len(found))
    write_questions(output, found)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        write_judge_prompts(
            Path(snakemake.input.requests),
            [Path(path) for path in snakemake.input.generations],
            snakemake.params.kinds,
            Path(snakemake.output[0]),
        )
