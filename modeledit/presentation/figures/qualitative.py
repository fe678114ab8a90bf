"""Figure 1 of the paper: what the model says about one edit and its neighbors (SPEC H).

scores of k = 0, 1, the stop --> stages --pick_edit--> one edit --figure_qualitative--> panel

Files and records as in `perplexity_stages`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modeledit.data.requests import Request
from modeledit.evaluation.aggregation import picks
from modeledit.evaluation.metrics import RUN
from modeledit.evaluation.schemas import RAW_SCORES
from modeledit.presentation.figures.style import (
    COLOURS,
    GREY,
    STYLE,
    fit,
    place_box,
    place_text,
    printable,
    save,
    sheet,
    write_record,
)
from modeledit.study.layout import RunKey
from modeledit.study.stopping import Rule

SHOWN = {"edit": 1, "paraphrase": 2, "neighbor": 4}  # prompts of each kind, at most
GROUPS = {"edit": "Edit", "paraphrase": "Paraphrases", "neighbor": "Neighbors"}
COUNTS = {"edit": "new", "paraphrase": "new", "neighbor": "true"}  # the object that is right
SYMBOLS = {True: "✓", False: "✗"}
FILLS = {True: "#E3F0F8", False: "#FBE3D2"}
PROMPT, CELL, ROW, GROUP, HEAD, EDGE = 2.45, 1.12, 0.27, 0.19, 0.42, 0.05  # inches
COLUMNS = ("request", "kind", "index", "object", "ranks", "top", "top_logprobs")


Prompt = tuple[str, int]  # kind and index
EDIT: Prompt = ("edit", 0)


@dataclass(frozen=True)
class Stage:
    """A model on its way: what it is, in up to two lines, and its scores."""

    heading: str
    scores: pd.DataFrame


@dataclass(frozen=True)
class Answer:
    """What a model says after one prompt."""

    rank: int  # of the first token of the object that is right, from 1
    top: list[str]  # the likeliest tokens, the likeliest first
    p: list[float]

    @property
    def right(self) -> bool:
        return self.rank == 1


@dataclass(frozen=True)
class Line:
    """One prompt and the answers of all stages, as it is drawn and recorded."""

    index: int
    prompt: str
    object: str  # that is right
    cells: list[Answer]


@dataclass(frozen=True)
class Group:
    """The prompts of one kind: how many there are, of how many each stage is right, those drawn."""

    kind: str
    n: int
    n_right: list[int]
    rows: list[Line]


@dataclass(frozen=True)
class Panel:
    """One edit at every stage; ``why`` it was chosen."""

    request: int
    why: str
    label: str
    stages: list[str]
    groups: list[Group]


# --------------------------------------------------------------------------------------------
# Data


def read_answers(path: str | Path) -> pd.DataFrame:
    """Read those columns of a `scores.parquet` that say what the model would say: COLUMNS.

    Raises SchemaError when the scores were made without them.
    """
    return RAW_SCORES.read(path, COLUMNS)


def run_stages(
    metrics: pd.DataFrame,
    run: RunKey,
    paths: Sequence[str | Path],
    rule: Rule,
) -> list[Stage]:
    """The stages of one run that Figure 1 shows: after k = 1, and at its stop (SPEC C.4).

    ``metrics`` are those of metrics.csv, with all trials, ``run`` is its dataset, model, method and
    trial, ``paths`` are its scores.parquet of k = 1, 2, ... A run for which ``rule`` is never met
    is shown at its last iteration; one that stops at k = 1 is one stage. Raises ValueError when the
    metrics lack the run or the scores lack its stop.
    """
    rows = metrics[(metrics[list(RUN)] == list(run)).all(axis="columns")]
    last = rows["k"].max()
    if rows.empty or not 1 <= last <= len(paths):
        raise ValueError(
            f"figure: the metrics of {'/'.join(map(str, run))} go up to k = {last}, its scores to"
            f" k = {len(paths)}; both must be those of the same iterations"
        )
    trials = metrics[(metrics[list(RUN[:3])] == list(run[:3])).all(axis="columns")]
    pick = picks(trials, rule)[run[:3]]["proposed"]
    stop = min(pick.k[run.trial], int(last))
    how = "stop" if pick.met[run.trial] else "rule not met"
    headings = {1: f"{run.method}\nafter one iteration", stop: f"{run.method}\nk = {stop}, {how}"}
    return [Stage(heading, read_answers(paths[k - 1])) for k, heading in headings.items()]


def pick_edit(stages: Sequence[Stage], requests: Sequence[Request]) -> tuple[int, str]:
    """The edit that shows most, and why: (id, reason).

    Candidates are right at the last stage, and after the first edited stage the edit had not taken
    (UnderEdit) or a neighbor that was right before was not any more (OverEdit). Those with both
    come first, then those with most prompts put right in between, then those with fewest wrong at
    the last stage, then the smallest id. Without candidates it is the smallest id.
    """
    best = []
    if len(stages) > 2:
        answers = [_answers(stage.scores) for stage in stages]
        for request in requests:
            was, then, *_, ends = _of(request, answers)
            counted = [key for key in ends if key[0] != "neighbor" or was[key].right]
            failed = {key for key in counted if not then[key].right}
            faults = ["UnderEdit"] * (EDIT in failed)
            faults += ["OverEdit"] * any(kind == "neighbor" for kind, _ in failed)
            if faults and ends[EDIT].right:
                repaired = sum(ends[key].right for key in failed)
                wrong = sum(not ends[key].right for key in counted)
                best.append((-len(faults), -repaired, wrong, request.id, " and ".join(faults)))
    if best:
        *_, chosen, why = min(best)
        return chosen, f"{why} after one iteration, right at the last stage"
    return min(request.id for request in requests), "the smallest id"


def _answers(scores: pd.DataFrame) -> dict[int, dict[Prompt, Answer]]:
    """What is likeliest where the right object begins, by request and prompt."""
    rows = scores[scores["object"] == scores["kind"].map(COUNTS)]
    answers: dict[int, dict[Prompt, Answer]] = {}
    columns = ["request", "kind", "index", "ranks", "top", "top_logprobs"]
    for request, kind, index, ranks, top, logs in rows[columns].itertuples(index=False, name=None):
        if len(ranks) > 0:  # an empty object is neither right nor wrong
            answer = Answer(
                int(ranks[0]), [str(token) for token in top], [math.exp(value) for value in logs]
            )
            answers.setdefault(int(request), {})[kind, int(index)] = answer
    return answers


def _of(
    request: Request, answers: Sequence[Mapping[int, dict[Prompt, Answer]]]
) -> list[dict[Prompt, Answer]]:
    """Answers of each stage to the prompts that the request holds (zsRE's may be in pieces too)."""
    held = {"edit": 1, "paraphrase": len(request.paraphrases), "neighbor": len(request.neighbors)}
    found = [
        {key: answer for key, answer in stage.get(request.id, {}).items() if key[1] < held[key[0]]}
        for stage in answers
    ]
    for number, stage in enumerate(found):
        if EDIT not in stage or stage.keys() != found[0].keys():
            raise ValueError(
                f"figure: the scores of stage {number} have prompts {sorted(stage)} of request"
                f" {request.id}, those of stage 0 {sorted(found[0])}; they must be of one trial"
            )
    return found


# --------------------------------------------------------------------------------------------
# Drawing


def figure_qualitative(
    requests: Sequence[Request],
    stages: Sequence[Stage],
    path: str | Path,
    *,
    request: int | None = None,
    title: str = "",
    note: str = "",
) -> dict[str, Any]:
    """What the model says first, for one edit and its neighbors, at every stage (paper, Figure 1).

    ``stages`` begin with the unedited model; each is a column, each prompt a row. A cell has the
    likeliest next token, its probability, and whether the object that is right begins with it: o*
    for the edit and its paraphrases, its own object for a neighbor. Of a kind with more prompts
    than SHOWN those are drawn whose answers turn most often, and all are counted above them. The
    edit is ``request``, or `pick_edit`'s.

    Returns the record, which is also written to ``path`` with the ending .json. Raises ValueError
    if there is no such edit or it is not in the scores of every stage.
    """
    why = "named"
    if request is None:
        request, why = pick_edit(stages, requests)
    edit = next((r for r in requests if r.id == request), None)
    if edit is None:
        raise ValueError(f"figure: request {request} is not among the {len(requests)} requests")
    answers = _of(edit, [_answers(stage.scores) for stage in stages])
    panel = Panel(
        request=edit.id,
        why=why,
        label=edit.change,
        stages=[stage.heading for stage in stages],
        groups=[_group(edit, answers, kind) for kind in GROUPS],
    )
    with matplotlib.style.context(STYLE):
        save(_draw_panel(panel, title, note), path)
    record = {"figure": "qualitative"} | asdict(panel)
    write_record(path, record)
    return record


def _group(edit: Request, answers: Sequence[dict[Prompt, Answer]], kind: str) -> Group:
    """The prompts of one kind: those that turn most often are drawn, all are counted."""
    keys = sorted(key for key in answers[0] if key[0] == kind)

    def turns(key: Prompt) -> int:
        return sum(a[key].right != b[key].right for a, b in pairwise(answers))

    chosen = sorted(keys, key=lambda k: (-turns(k), not answers[0][k].right, k))[: SHOWN[kind]]
    prompts = {
        "edit": [(edit.text, edit.target_new)],
        "paraphrase": [(text, edit.target_new) for text in edit.paraphrases],
        "neighbor": [(n.text, n.target) for n in edit.neighbors],
    }[kind]
    return Group(
        kind=kind,
        n=len(keys),
        n_right=[sum(stage[key].right for key in keys) for stage in answers],
        rows=[
            Line(key[1], *prompts[key[1]], [stage[key] for stage in answers])
            for key in sorted(chosen)
        ],
    )


def _draw_panel(panel: Panel, title: str, note: str) -> Figure:
    groups = [group for group in panel.groups if group.rows]
    columns = [PROMPT + CELL * (i + 0.5) for i in range(len(panel.stages))]
    width = PROMPT + CELL * len(columns) + EDGE
    below = (
        "Each cell: the likeliest next token and its probability. ✓ the right object begins with"
    )
    below += " it, ✗ it does not."
    if any(group.n > len(group.rows) for group in groups):
        below += " Of more prompts, those whose answers turn most often are shown."
    notes = fit(printable(f"{below} {note}"), width - 2 * EDGE, 5.5, 4)
    height = HEAD + sum(GROUP + ROW * len(g.rows) for g in groups) + 0.1 * len(notes) + 0.09
    figure, axes = sheet(width, height)

    label = fit(printable(panel.label), PROMPT - 2 * EDGE, 8, 2, weight="bold")
    for i, line in enumerate(label):
        place_text(axes, EDGE, 0.12 + 0.13 * i, line, 8, fontweight="bold")
    for line in fit(printable(title), PROMPT - 2 * EDGE, 6) if title else []:
        place_text(axes, EDGE, HEAD - 0.05, line, 6, color=GREY)
    for x, heading in zip(columns, panel.stages, strict=True):
        name, _, when = heading.partition("\n")
        place_text(axes, x, HEAD - 0.18, name, 7, ha="center", fontweight="bold")
        place_text(axes, x, HEAD - 0.06, when, 6, ha="center")
    y = HEAD
    for group in groups:
        objects = {row.object for row in group.rows}
        right = f": right is {objects.pop()}" if len(objects) == 1 else ": right is after the arrow"
        head = fit(printable(GROUPS[group.kind] + right), PROMPT - EDGE, 6.5)[0]
        axes.plot([EDGE, width - EDGE], [y + 0.02] * 2, color=GREY, linewidth=0.5)
        place_text(axes, EDGE, y + GROUP / 2 + 0.01, head, 6.5, fontstyle="italic")
        for x, n_right in zip(columns, group.n_right, strict=True):
            if group.n > len(group.rows):
                tally = f"{n_right} of {group.n} right"
                place_text(axes, x, y + GROUP / 2 + 0.01, tally, 6, ha="center", color=GREY)
        y += GROUP
        for row in group.rows:
            arrow = f" → {row.object}" if right.endswith("arrow") else ""
            prompt = fit(printable(row.prompt + arrow), PROMPT - 2.5 * EDGE, 6.3, 2, "end")
            for i, line in enumerate(prompt):
                above = 0.055 * (len(prompt) - 1)
                place_text(axes, EDGE, y + ROW / 2 - above + 0.11 * i, line, 6.3)
            for x, cell in zip(columns, row.cells, strict=True):
                _draw_cell(axes, x - CELL / 2, y, cell)
            y += ROW
    for i, line in enumerate(notes):
        place_text(axes, EDGE, y + 0.1 + 0.1 * i, line, 5.5, color=GREY)
    return figure


def _draw_cell(axes: Axes, x: float, y: float, cell: Answer) -> None:
    right = cell.right
    colour = COLOURS["right" if right else "wrong"]
    # Greyscale and colour-blind readers have the symbol, and the frame of what is wrong.
    frame = {} if right else {"edgecolor": colour}
    place_box(axes, x + 0.025, y + 0.025, CELL - 0.05, ROW - 0.05, FILLS[right], **frame)
    middle = y + ROW / 2
    place_text(axes, x + 0.06, middle, SYMBOLS[right], 8, color=colour, fontweight="bold")
    token = fit(printable(cell.top[0].strip(" ") or "␣"), CELL - 0.52, 6.8)[0]
    place_text(axes, x + 0.18, middle, token, 6.8)
    p = cell.p[0]
    shown = "–" if math.isnan(p) else "<.01" if p < 0.005 else f"{p:.2f}"
    place_text(axes, x + CELL - 0.06, middle, shown, 6, ha="right", color=GREY)
