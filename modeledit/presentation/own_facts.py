"""What became of facts of one's own: every prompt before the edit and at the stop, and what to say.

What was not given in the user's file is said, and nothing is put in its place. `own_facts_page`
shows it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from modeledit.data.readers import OWN, load_requests
from modeledit.data.requests import NO_TRUE_OBJECT, Request, read_requests
from modeledit.evaluation.schemas import PANEL, RAW_SCORES
from modeledit.io.frames import read_csv
from modeledit.io.state import State, read_state
from modeledit.presentation.wording import small_model_note
from modeledit.study.own_facts import Study

KINDS = ("edit", "paraphrase", "neighbor")
CHANGED, NOT_CHANGED, KEPT, LOST = "changed", "not changed", "kept", "lost"
BLANK = "(a blank)"

Prompt = tuple[int, str, int]
"""Request, kind and index."""


@dataclass(frozen=True)
class Sources:
    """The files of one run on facts of one's own; lists have an entry for each iteration."""

    facts: Path  # the user's
    trial: Path  # requests with the neighbors that were found for them
    requests: Path  # the same with those neighbors that the unedited model knows
    verdicts: Path  # what it said of each
    unedited: Path
    scores: Sequence[Path]
    states: Sequence[Path]
    panel: Path
    panel_after: Path


@dataclass(frozen=True)
class Answer:
    """What a model says after one prompt.

    `says` is the likeliest next token with its probability `sure`; `new` and `old` are the
    probabilities of the whole objects, `old` None where none was given; `says_new` and `says_old`
    tell whether every token of an object is the likeliest one.
    """

    says: str
    sure: float
    new: float
    old: float | None
    says_new: bool
    says_old: bool


@dataclass(frozen=True)
class Asked:
    """One prompt of a fact, and the answers by iteration, 0 before the edit."""

    kind: str
    text: str
    new: str
    old: str | None
    answers: Mapping[int, Answer]

    @property
    def before(self) -> Answer:
        return self.answers[0]

    @property
    def after(self) -> Answer:
        return self.answers[max(self.answers)]

    def said(self, answer: Answer) -> tuple[str, float]:
        """What an answer says and how surely: an object where it says the whole of one, else the
        likeliest next token, which may be the beginning of a word."""
        if answer.says_new:
            return self.new, answer.new
        if answer.says_old and self.old is not None and answer.old is not None:
            return self.old, answer.old
        return answer.says, answer.sure

    def mark_at(self, k: int) -> str:
        """After iteration k, CHANGED or NOT_CHANGED; of a neighbor KEPT or LOST."""
        if self.kind == "neighbor":
            return KEPT if self.answers[k].says_old else LOST
        return CHANGED if self.answers[k].says_new else NOT_CHANGED

    @property
    def mark(self) -> str:
        return self.mark_at(max(self.answers))

    @property
    def good(self) -> bool:
        """Whether it is as the edit should leave it."""
        return self.mark in (CHANGED, KEPT)


@dataclass(frozen=True)
class Fact:
    """One edit with its prompts, and what has to be said about it."""

    request: Request
    asked: Sequence[Asked]
    notes: Sequence[str]

    @property
    def edited(self) -> list[Asked]:
        """The edit's own prompt and its paraphrases."""
        return [one for one in self.asked if one.kind != "neighbor"]

    @property
    def neighbors(self) -> list[Asked]:
        return [one for one in self.asked if one.kind == "neighbor"]

    @property
    def lost(self) -> int:
        """How many neighbors were not kept."""
        return sum(not one.good for one in self.neighbors)


@dataclass(frozen=True)
class Iteration:
    """How many prompts of each kind are as they should be after iteration `k`, and its |dp|."""

    k: int
    dp: float | None
    good: Mapping[str, int]


@dataclass(frozen=True)
class Moved:
    """A fact of the panel that is answered otherwise now; `own` if its subject was edited."""

    prompt: str
    object: str
    said: str
    before: float
    after: float
    own: bool


@dataclass(frozen=True)
class Outcome:
    """Everything that is shown."""

    study: Study
    facts: Sequence[Fact]
    iterations: Sequence[Iteration]  # from 0, before the edit, to the stop
    stop: str
    panel: int  # facts of the panel that were asked
    moved: Sequence[Moved]
    mended: Sequence[str]  # in the user's file

    @property
    def count(self) -> str:
        """How many facts there are: "1 edited fact"."""
        return f"{len(self.facts)} edited fact{'' if len(self.facts) == 1 else 's'}"

    @property
    def totals(self) -> dict[str, int]:
        """How many prompts of each kind there are."""
        kinds = [asked.kind for fact in self.facts for asked in fact.asked]
        return {kind: kinds.count(kind) for kind in KINDS}

    @property
    def good(self) -> Mapping[str, int]:
        """How many of them are as they should be at the stop."""
        return self.iterations[-1].good

    @property
    def note(self) -> str:
        """What has to stand under the numbers of a small model; "" under others."""
        return small_model_note([self.study.model]) if self.study.small else ""


def read_outcome(sources: Sources, study: Study) -> Outcome:
    """Read what a run left. Raises FileError that names a file which is broken."""
    requests = sorted(read_requests(sources.requests), key=lambda request: request.id)
    states = [read_state(path) for path in sources.states]
    ks = range(states[-1].held_by + 1)
    answers = {k: _answers((sources.unedited, *sources.scores)[k]) for k in ks}
    loaded = load_requests(sources.facts, OWN)
    given = {request.id: request for request in loaded.requests}
    offered = {request.id: request for request in read_requests(sources.trial)}
    verdicts = _verdicts(sources.verdicts)
    facts = []
    for request in requests:
        asked = list(_asked(request, answers))
        notes = [
            *_old_object(request, asked[0]),
            *_paraphrases(request),
            *_in_the_loss(request),
            *_neighbors(given[request.id], offered[request.id], verdicts.get(request.id, [])),
        ]
        facts.append(Fact(request, asked, notes))
    panel, moved = _moved(sources, requests)
    return Outcome(
        study,
        facts,
        [_iteration(k, states[-1], facts) for k in ks],
        _stop(states[-1], len(states), study.epsilon),
        panel,
        moved,
        loaded.lines(),
    )


def _answers(path: Path) -> dict[Prompt, Answer]:
    """What the scores in `path` say of each prompt."""
    pairs: dict[Prompt, dict[str, dict]] = {}
    for row in RAW_SCORES.read(path, filters=[("kind", "in", list(KINDS))]).to_dict("records"):
        pairs.setdefault((row["request"], row["kind"], row["index"]), {})[row["object"]] = row
    return {prompt: _answer(rows["new"], rows["true"]) for prompt, rows in pairs.items()}


def _answer(new: dict, old: dict) -> Answer:
    """The answer behind the rows of one prompt's two objects."""
    p_new, p_old = (math.exp(sum(row["logprobs"])) for row in (new, old))
    says_new, says_old = (list(row["argmax"]) == list(row["token_ids"]) for row in (new, old))
    return Answer(
        new["top"][0].strip() or BLANK,
        math.exp(new["top_logprobs"][0]),
        p_new,
        p_old,
        says_new,
        says_old,
    )


def _asked(request: Request, answers: Mapping[int, Mapping[Prompt, Answer]]) -> Iterator[Asked]:
    """The prompts of a request in the order of KINDS, with their answers."""
    old = None if request.target_true == NO_TRUE_OBJECT else request.target_true
    prompts: dict[str, list[tuple[str, str | None]]] = {
        "edit": [(request.text, old)],
        "paraphrase": [(text, old) for text in request.paraphrases],
        "neighbor": [(neighbor.text, neighbor.target) for neighbor in request.neighbors],
    }
    for kind in KINDS:
        for index, (text, object_) in enumerate(prompts[kind]):
            found = {k: said[request.id, kind, index] for k, said in answers.items()}
            if object_ is None:  # a stand-in was scored, whose probability means nothing
                found = {k: _without_old(answer) for k, answer in found.items()}
            yield Asked(kind, text, request.target_new, object_, found)


def _without_old(answer: Answer) -> Answer:
    return Answer(answer.says, answer.sure, answer.new, None, answer.says_new, False)


def _iteration(k: int, last: State, facts: Sequence[Fact]) -> Iteration:
    asked = [one for fact in facts for one in fact.asked]
    good = {
        kind: sum(a.mark_at(k) in (CHANGED, KEPT) for a in asked if a.kind == kind)
        for kind in KINDS
    }
    measured = 0 < k <= len(last.differences)
    return Iteration(k, last.differences[k - 1] if measured else None, good)


def _stop(last: State, budget: int, epsilon: float) -> str:
    """Why there is no further iteration, in a sentence (SPEC C.4)."""
    if last.collapsed:
        return f"An iteration wrote nothing, and the run ended there: {last.collapsed}."
    k, dp = last.held_by, last.differences[last.held_by - 1]
    if dp <= epsilon:
        return f"Stopped after iteration {k}: |Δp| = {dp:.3g} is at most ε = {epsilon:g}."
    return (
        f"The budget of {budget} iterations ended with |Δp| = {dp:.3g}, above ε = {epsilon:g}: the "
        "rule was not met."
    )


# --- what was not given ------------------------------------------------------------------------


def _verdicts(path: Path) -> dict[int, list[dict]]:
    """What the unedited model said of each neighbor, by request."""
    text = dict.fromkeys(("prompt", "object", "predicted"), str)
    found: dict[int, list[dict]] = {}
    for row in read_csv(path, text).fillna("").to_dict("records"):
        found.setdefault(int(row["request"]), []).append(row)
    return found


def _old_object(request: Request, edit: Asked) -> Iterator[str]:
    if request.target_true == NO_TRUE_OBJECT:
        yield (
            "No old object was given, so its probability is not shown. Before the edit the model's "
            f"likeliest next token was “{edit.before.says}” ({edit.before.sure:.0%})."
        )


def _paraphrases(request: Request) -> Iterator[str]:
    if not request.paraphrases:
        yield "No paraphrases were given: whether the edit holds in other words was not asked."


def _in_the_loss(request: Request) -> Iterator[str]:
    for neighbor in request.editing_neighbors:
        yield (
            f"Edited with the neighbor “{neighbor.text}” (“{neighbor.target}”) in the loss, which "
            "is therefore not asked."
        )


def _neighbors(given: Request, offered: Request, verdicts: Sequence[dict]) -> Iterator[str]:
    """Where the neighbors are from, and which were left out since the model does not know them."""
    unknown = [v for v in verdicts if not v["survives"]]
    count, known = len(verdicts), len(verdicts) - len(unknown)
    if given.neighbors:
        for v in unknown:
            said = f"token by token it says “{v['predicted'] or BLANK}”"
            yield (
                f"Left out, since the unedited model does not know it: “{v['prompt']}” with "
                f"“{v['object']}” ({said})."
            )
        if not known:
            yield "No neighbor is left: whether the edit spares facts like it was not asked."
    elif not offered.neighbors:
        yield (
            "No neighbors were given, and no built-in fact has a prompt of this form: whether the "
            "edit spares facts like it was not asked."
        )
    elif known:
        yield (
            f"No neighbors were given; of {count} built-in facts of the same form the model knows "
            f"{known}, which stand in."
        )
    else:
        yield (
            f"No neighbors were given, and the model knows none of {count} built-in facts of the "
            "same form: whether the edit spares facts like it was not asked."
        )


# --- what else moved ---------------------------------------------------------------------------


def _moved(sources: Sources, requests: Sequence[Request]) -> tuple[int, list[Moved]]:
    """How many facts of the panel were asked, but for those that were edited, and the moved ones;
    those whose subject was edited come first, then by what they lost."""
    edited = {request.text for request in requests}
    subjects = {request.subject for request in requests}
    before, after = PANEL.read(sources.panel), PANEL.read(sources.panel_after)
    both = pd.concat([before, after[["said", "probability"]].add_suffix("_after")], axis=1)
    both = both[~both["prompt"].isin(edited)]
    moved = [
        Moved(
            row["prompt"],
            row["object"],
            row["said_after"],
            row["probability"],
            row["probability_after"],
            row["subject"] in subjects,
        )
        for row in both[both["said"] != both["said_after"]].to_dict("records")
    ]
    return len(both), sorted(moved, key=lambda m: (not m.own, m.after - m.before))
