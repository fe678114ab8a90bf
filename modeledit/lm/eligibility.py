"""Which requests can be edited with a neighbor's help (SPEC D.2; paper, appendix B.2).

On the unedited model, a neighbor survives when the teacher-forced argmax after its prompt, decoded
and stripped, is its object o exactly. A request with two or more survivors is eligible: the first
ones join the edit, the rest are the only ones it is evaluated on. 89 of CounterFact's records list
a neighbor twice; in the authors' own sets such a copy counts (6 of 739 requests for GPT-2 XL are
evaluated on the very prompt that joins their edit).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd
from transformers import PreTrainedTokenizerBase

from modeledit.data.requests import Request
from modeledit.lm.model import EditableModel
from modeledit.lm.scoring import placed
from modeledit.lm.tokens import decode, target_row
from modeledit.lm.trees import label_outputs

EVAL_POSITIONS = ("mask_aware", "hf_default")


@dataclass(frozen=True)
class Filter:
    """How neighbors are judged, and which of those that survive join the edit (I14, I33).

    `copies` says what becomes of a survivor whose prompt stands before it already, `others` of a
    request with too few survivors: "keep" leaves it those that it has, none of them for editing.
    """

    eval_positions: Literal["mask_aware", "hf_default"]
    editing_neighbors: int
    choice: Literal["first", "random"]
    copies: Literal["drop", "count"]
    seed: int
    others: Literal["drop", "keep", "refuse"] = "drop"


@dataclass(frozen=True)
class Filtered:
    """Requests that can be edited with a neighbor's help, and why the others cannot."""

    requests: list[Request]
    verdicts: pd.DataFrame  # `judge_neighbors`
    summary: pd.DataFrame  # `select_eligible`
    yields: dict[str, dict]  # `yields`: of a model with absolute positions by both readings (I14)


def find_eligible(
    model: EditableModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    how: Filter,
    token_budget: int,
) -> Filtered:
    """Put every neighbor to the unedited model and keep the requests that `how` finds eligible."""
    # Only absolute positions notice left padding: there, both readings are counted.
    readings = {how.eval_positions, *(EVAL_POSITIONS if model.counts_padding else ())}
    verdicts = {
        name: judge_neighbors(model, tokenizer, requests, token_budget, name)
        for name in sorted(readings)
    }
    chosen = verdicts[how.eval_positions]
    eligible, summary = select_eligible(requests, chosen, how)
    return Filtered(eligible, chosen, summary, yields(requests, verdicts, how))


def judge_neighbors(
    model: EditableModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    token_budget: int = 4096,
    eval_positions: str = "mask_aware",
) -> pd.DataFrame:
    """One verdict per neighbor: request, index, prompt, object, predicted, survives.

    With `eval_positions` "hf_default" a request's neighbors are one left-padded batch, as in the
    authors' code (I14).
    """
    asked = [(r.id, j, n) for r in requests for j, n in enumerate(r.neighbors)]
    rows = []
    for request in requests:
        batch = [target_row(tokenizer, n.text, n.target) for n in request.neighbors]
        rows += placed(model, batch, eval_positions)
    outputs = label_outputs(model, rows, token_budget)
    verdicts = []
    for (number, index, neighbor), output in zip(asked, outputs, strict=True):
        predicted = decode(tokenizer, output.argmax.tolist()).strip()
        verdicts.append(
            {
                "request": number,
                "index": index,
                "prompt": neighbor.text,
                "object": neighbor.target,
                "predicted": predicted,
                "survives": predicted == neighbor.target,
            }
        )
    names = ["request", "index", "prompt", "object", "predicted", "survives"]
    return pd.DataFrame(verdicts, columns=names)


def select_eligible(
    requests: Sequence[Request], verdicts: pd.DataFrame, how: Filter
) -> tuple[list[Request], pd.DataFrame]:
    """Eligible requests (and those that `how` keeps), and one row per request: survivors, eligible,
    reason.

    Needs `editing_neighbors` survivors to edit with - the "first" or, seeded, "random" ones (I33) -
    and at least one more to evaluate on. A survivor without a known subject cannot take a delta, so
    it can only be evaluated on.
    """
    n_editing = how.editing_neighbors
    alive = verdicts[verdicts["survives"].astype(bool)].groupby("request")["index"].agg(list)
    eligible, summary = [], []
    for request in requests:
        indices = alive.get(request.id, [])
        if how.copies == "drop":
            indices = _distinct(request, indices)
        usable = [j for j in indices if request.neighbors[j].subject is not None]
        if how.choice == "random":
            random.Random(f"{how.seed} {request.id}").shuffle(usable)
        usable = usable[:n_editing]
        ok = len(usable) == n_editing and len(indices) > n_editing
        reason = ""
        if len(indices) <= n_editing:
            reason = f"{len(indices)} of {len(request.neighbors)} neighbors survive"
        elif not ok:
            reason = f"{len(usable)} of {len(indices)} survivors have a known subject"
        summary.append(
            {"request": request.id, "survivors": len(indices), "eligible": ok, "reason": reason}
        )
        if ok or how.others == "keep":
            usable = usable if ok else []
            rest = tuple(request.neighbors[j] for j in indices if j not in usable)
            editing = tuple(request.neighbors[j] for j in usable)
            eligible.append(replace(request, neighbors=rest, editing_neighbors=editing))
    return eligible, pd.DataFrame(summary, columns=["request", "survivors", "eligible", "reason"])


def _distinct(request: Request, indices: Sequence[int]) -> list[int]:
    """Those of a request's neighbors whose prompt no earlier one of `indices` has."""
    first: dict[str, int] = {}
    for j in indices:
        first.setdefault(request.neighbors[j].text, j)
    return list(first.values())


def yields(
    requests: Sequence[Request], verdicts: dict[str, pd.DataFrame], how: Filter
) -> dict[str, dict]:
    """How many neighbors and requests pass, per reading of the positions (I14), and why not.

    `verdicts` maps eval_positions to that reading's verdicts.
    """
    result = {}
    for positions, frame in verdicts.items():
        eligible, summary = select_eligible(requests, frame, how)
        fallen = summary.loc[~summary["eligible"], "reason"]
        result[positions] = {
            "neighbors": len(frame),
            "surviving_neighbors": int(frame["survives"].sum()),
            "requests": len(requests),
            "eligible_requests": len(eligible),
            "fallen": {reason: int(n) for reason, n in fallen.value_counts().items()},
        }
    return result


def compare_sets(ours: Sequence[Request], theirs: Sequence[Request]) -> dict[str, list[str]]:
    """Edits in both sets, only in ours and only in theirs, by prompt and objects."""
    first, second = (
        {f"{r.text} -> {r.target_new} (was {r.target_true})" for r in requests}
        for requests in (ours, theirs)
    )
    return {
        "both": sorted(first & second),
        "only_ours": sorted(first - second),
        "only_theirs": sorted(second - first),
    }
