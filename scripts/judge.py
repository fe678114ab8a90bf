"""Answers to the questions about a run: from a file of verdicts, or from a server that is asked."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from modeledit.evaluation.judgements import (
    Judgement,
    Question,
    read_questions,
    read_verdicts,
    write_judgements,
)
from modeledit.fetch.judge import Server
from modeledit.io.files import optional_path, read_json_lines
from modeledit.io.log import journal, progress
from modeledit.io.seals import sealed
from modeledit.study.observation import Judge

ANSWERS = "judge_answers.jsonl"  # beside the output: what a server has answered so far

log = logging.getLogger("modeledit")


def judge(prompts: Path, verdicts: Path | None, settings: Judge, output: Path) -> None:
    """Write a judgement of each question: from the file `verdicts` if there is one, else of the
    server that the settings name."""
    asked = read_questions(prompts)
    if verdicts:
        found = from_file(asked, verdicts)
    elif settings.server:
        server = Server(settings.server, settings.model)
        found = from_server(asked, server, output.with_name(ANSWERS))
    else:
        raise ValueError("neither verdicts nor a server to ask")
    nulls = sum(one.verdict is None for one in found)
    log.info("%d questions, %d without a verdict", len(found), nulls)
    write_judgements(output, found)


def from_file(asked: Sequence[Question], verdicts: Path) -> list[Judgement]:
    """What the file says; of a question that is not in it nothing."""
    known, source = read_verdicts(verdicts), verdicts.name
    there = {one.id for one in asked}
    log.info(
        "%s: %d of %d questions are not in it", verdicts, len(there - known.keys()), len(there)
    )
    log.info("%s: %d verdicts are about no question here", verdicts, len(known.keys() - there))
    return [
        Judgement(one.id, known.get(one.id), source if one.id in known else None) for one in asked
    ]


def from_server(asked: Sequence[Question], server: Server, answers: Path) -> list[Judgement]:
    """What the server says; each answer is put into `answers` as it comes, and asked for once."""
    known = answers_of(answers, server.name)
    log.info("%s: %d answers are known", server.name, sum(one.id in known for one in asked))
    with (
        answers.open("a", encoding="utf-8") as stream,
        progress(len(asked), "question") as bar,
    ):
        for one in asked:
            if one.id not in known:
                known[one.id] = server.verdict(one.text)
                line = Judgement(one.id, known[one.id], server.name)._asdict()
                stream.write(json.dumps(line) + "\n")
                stream.flush()
            bar.update()
    return [Judgement(one.id, known[one.id], server.name) for one in asked]


def answers_of(path: Path, source: str) -> dict[str, bool | None]:
    """{id: verdict} that `source` has given; a last line that was cut off is taken away."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        with path.open("r+b") as stream:
            stream.truncate(data.rfind(b"\n") + 1)
    lines = read_json_lines(path)
    return {line["id"]: line["verdict"] for line in lines if line["source"] == source}


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        judge(
            Path(snakemake.input.prompts),
            optional_path(snakemake.input.get("verdicts")),
            snakemake.params.settings,
            Path(snakemake.output[0]),
        )
