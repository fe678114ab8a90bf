"""What a run's model says, writes and keeps before the edit, after k = 1 and at the stop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from modeledit.data.probes import read_probes
from modeledit.data.requests import NO_TRUE_OBJECT, Request, read_requests
from modeledit.evaluation.behavior import Asked, Observed, values_before, values_of
from modeledit.evaluation.generation import FORCED_COLUMNS, Objects, Prompt
from modeledit.evaluation.judgements import judged, read_verdicts
from modeledit.evaluation.probing import by_place
from modeledit.evaluation.schemas import BEHAVIOR_VALUES, DRIFT, GENERATIONS, RAW_SCORES
from modeledit.io.files import optional_path, read_json_lines
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.io.state import read_state
from modeledit.study.layout import iteration_of

JUDGED = ("edit", "paraphrase")  # kinds of prompts of which a judge may be asked


@dataclass(frozen=True)
class StateFiles:
    """The raw files of a state beside its scores, each None where it was not asked for."""

    generations: Path | None = None
    fluency: Path | None = None
    probes: Path | None = None
    probe_generations: Path | None = None
    drift: Path | None = None

    @classmethod
    def named(cls, files: Mapping[str, str], state: str) -> "StateFiles":
        """Those that `files` hold as {state}_{file}."""
        names = cls.__dataclass_fields__
        return cls(**{name: optional_path(files.get(f"{state}_{name}")) for name in names})

    def read(self, scores: Path) -> Observed:
        """Their rows, with the scores that belong to them."""
        generations = self.generations and GENERATIONS.read(self.generations)
        return Observed(
            scores=None if generations is None else _of_new(scores),
            generations=generations,
            fluency=self.fluency and GENERATIONS.read(self.fluency),
            probes=self.probes and RAW_SCORES.read(self.probes, FORCED_COLUMNS),
            probe_generations=self.probe_generations and GENERATIONS.read(self.probe_generations),
            drift=self.drift and DRIFT.read(self.drift),
        )


@dataclass(frozen=True)
class Inputs:
    """A trial's requests and what is asked besides; scores by k from 0; the last state; raw files.

    `references` are JSON lines with `object` and `text`: texts about things that have an object;
    `judgements` what a judge says of the continuations.
    """

    requests: Path
    probes: Path | None
    references: Path | None
    judgements: Path | None
    unedited_scores: Path
    scores: Sequence[Path]
    state: Path
    unedited: StateFiles
    first: StateFiles
    stop: StateFiles


def evaluate_behavior(inputs: Inputs, output: Path) -> None:
    """Write the values of each request in each state.

    The files of the stop lie in the folder of the last iteration, which passes it on; its scores
    are those of the iteration that holds it.
    """
    asked = asked_of(inputs)
    scores = {iteration_of(path)[1]: path for path in inputs.scores}
    held = read_state(inputs.state).held_by
    if lacking := [k for k in (1, held) if k not in scores]:
        raise ValueError(
            f"{inputs.state}: the run has no scores of iteration {lacking[0]}, only of"
            f" {sorted(scores)}; bring them, or score them again"
        )
    before = inputs.unedited.read(inputs.unedited_scores)
    first, stop = inputs.first.read(scores[1]), inputs.stop.read(scores[held])
    frames = [
        values_of(before, asked, 0, "unedited"),
        values_before(stop.drift),
        values_of(first, asked, 1, "first"),
        values_of(stop, asked, held, "stop"),
    ]
    if inputs.judgements is not None:
        seen = {"unedited": (0, before), "first": (1, first), "stop": (held, stop)}
        frames.append(_judged(inputs, inputs.judgements, seen))
    filled = [frame for frame in frames if len(frame)] or frames[:1]
    BEHAVIOR_VALUES.write(output, pd.concat(filled, ignore_index=True))


def asked_of(inputs: Inputs) -> Asked:
    """What the prompts of the trial's requests ask for."""
    requests = read_requests(inputs.requests)
    objects = {prompt: found for one in requests for prompt, found in objects_of(one).items()}
    asked = Asked(objects)
    if inputs.probes is not None:
        asked = replace(asked, probes=by_place(read_probes(inputs.probes)))
    if inputs.references is not None:
        texts: dict[str, list[str]] = {}
        for line in read_json_lines(inputs.references):
            texts.setdefault(line["object"], []).append(line["text"])
        references = {one.id: texts.get(one.target_new, []) for one in requests}
        asked = replace(asked, references=references)
    return asked


def _judged(
    inputs: Inputs, judgements: Path, seen: Mapping[str, tuple[int, Observed]]
) -> pd.DataFrame:
    """BEHAVIOR_VALUES rows of what was judged of each state, {name: (k, what was observed)}."""
    objects = {one.id: one.target_new for one in read_requests(inputs.requests)}
    said = {
        state: one.generations for state, (_, one) in seen.items() if one.generations is not None
    }
    found = judged(said, objects, read_verdicts(judgements), JUDGED).dropna(subset="value")
    names = "judged_" + found["kind"]
    ks = found["state"].map({state: k for state, (k, _) in seen.items()})
    return found.assign(metric=names, k=ks)[list(BEHAVIOR_VALUES.names)]


def objects_of(request: Request) -> dict[Prompt, Objects]:
    """What is said after each prompt of a request; zsRE has no old object."""
    old = () if request.target_true == NO_TRUE_OBJECT else (request.target_true,)
    both = Objects((request.target_new,), old)
    found = {Prompt(request.id, "edit", request.text): both}
    found |= {Prompt(request.id, "paraphrase", text): both for text in request.paraphrases}
    for neighbor in request.neighbors:
        own = (neighbor.target,) if neighbor.target.strip() else ()
        prompt = Prompt(request.id, "neighbor", neighbor.text)
        found[prompt] = Objects((request.target_new,), own)
    return found


def _of_new(scores: Path) -> pd.DataFrame:
    """What teacher forcing says of o* after edit and paraphrase prompts."""
    return RAW_SCORES.read(scores, FORCED_COLUMNS, [("object", "==", "new")])


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        given = snakemake.input
        evaluate_behavior(
            Inputs(
                Path(given.requests),
                optional_path(given.get("probes")),
                optional_path(given.get("references")),
                optional_path(given.get("judgements")),
                Path(given.unedited),
                [Path(path) for path in given.scores],
                Path(given.state),
                StateFiles.named(given, "unedited"),
                StateFiles.named(given, "first"),
                StateFiles.named(given, "stop"),
            ),
            Path(snakemake.output[0]),
        )
