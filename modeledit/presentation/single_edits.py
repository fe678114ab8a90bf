"""What the report tells about single edits: requests, logs and scores in a compact form.

A run has thousands of prompts and many iterations, and all of it goes into one HTML file. So a run
shows at most a given number of edits, the most telling first (`telling`); scores are kept before
editing, after k = 1 and at the stop; runs of one trial share the requests and the unedited scores;
texts and tokens are stored once and named by their number.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from modeledit.data.requests import NO_TRUE_OBJECT, Neighbor, Request, read_requests
from modeledit.evaluation.metrics import SCORE_COLUMNS, request_metrics
from modeledit.evaluation.schemas import EDITS, RAW_SCORES, REQUEST_VALUES
from modeledit.io.files import read_json
from modeledit.presentation.telling import FLAGS, Outcomes, choose, counts, in_order, outcomes
from modeledit.study.layout import IterationFiles, RunKey
from modeledit.study.methods import METHODS
from modeledit.study.switches import Switches

MAX_EDITS = 200
KINDS = ("edit", "paraphrase", "neighbor")  # of prompts, in the order of a request's cells
PROMPT = ["request", "kind", "index"]
LOG = ("steps", "stop_reason", "loss", "p_init", "p_bar", "p_hat")  # of edits.parquet
PROBABILITY_STEPS = 10_000  # a probability is stored as a whole number of these


@dataclass(frozen=True)
class RunFiles:
    """Where the files of one run are."""

    values: Path  # request_metrics.parquet, in the run's folder with iter{k}/
    requests: Path  # the trial's requests, JSONL
    contexts: Path
    unedited: Path  # scores of the unedited model

    @property
    def folder(self) -> Path:
        return self.values.parent

    @property
    def key(self) -> RunKey:
        return RunKey.of(self.folder)


@dataclass(frozen=True)
class SingleEdits:
    """What the page holds of single edits, JSON-serialisable."""

    runs: list[dict[str, Any]]  # a run's ``block`` has its logs and scores, ``facts`` the trial's
    blocks: dict[str, Any]  # by the names in ``runs``
    rows: list[list[Any]]  # the list of edits: run, id, subject, o, o*, one 0 or 1 for each flag


@dataclass(frozen=True)
class _Shown:
    """One run as the report shows it: its entry in the index, its edits' outcomes, those chosen."""

    run: RunFiles
    entry: dict[str, Any]
    outcomes: Outcomes
    ids: list[int]


class Numbering:
    """Strings stored once, named by their place."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def __getitem__(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))

    def all(self) -> list[str]:
        return list(self.places)


def build(
    runs: Sequence[RunFiles],
    switches: Switches,
    stops: Mapping[RunKey, int | None],
    max_edits: int = MAX_EDITS,
) -> SingleEdits:
    """The single edits of the runs.

    ``switches`` are the run's (SPEC I.a); ``stops`` say where the rule was met, None where it was
    not: then a run's last iteration takes the place of the stop. Each run shows ``max_edits`` of
    its edits (see `telling.choose`), with scores at k = 0, 1 and the stop.

    Raises ValueError for max_edits < 1 and for files that lack columns.
    """
    if max_edits < 1:
        raise ValueError(f"report: max_edits = {max_edits}: must be at least 1")
    values = {run.key: REQUEST_VALUES.read(run.values) for run in runs}
    ends = {key: stops.get(key) or int(rows["k"].max()) for key, rows in values.items()}
    found = outcomes(values, ends)
    trials: dict[tuple[str, str, int], list[_Shown]] = {}
    shown = []
    for i, run in enumerate(runs):
        key = run.key
        entry: dict[str, Any] = key._asdict() | {
            "block": f"run-{i}",
            "iterations": sorted(int(k) for k in values[key]["k"].unique() if k > 0),
            "stages": sorted({1, ends[key]}),
            "stop": ends[key],
            "met": stops.get(key) is not None,
            "n_neighbors": METHODS[key.method].n_neighbors,
        }
        entry |= contexts_of(run, switches)
        ids = choose(found[key].flags, max_edits)
        shown.append(_Shown(run, entry, found[key], ids))
        trials.setdefault((key.dataset, key.model, key.trial), []).append(shown[-1])
    blocks: dict[str, Any] = {}
    known: dict[tuple[str, str, int], dict[int, Request]] = {}
    for i, (trial, members) in enumerate(trials.items()):
        ids = sorted({i for member in members for i in member.ids})
        before = read_prompts(members[0].run.unedited, ids)
        known[trial] = _known(members[0].run, ids)
        blocks[f"facts-{i}"] = _facts(list(known[trial].values()), before, switches)
        for member in members:
            member.entry["facts"] = f"facts-{i}"
            member.entry["counts"] = counts(member.outcomes.flags, member.ids)
            blocks[member.entry["block"]] = _run(member, before, switches)
    rows: list[list[Any]] = []
    flags = [one.outcomes.flags.astype(int).to_dict("index") for one in shown]
    for place, i in in_order([one.outcomes for one in shown], [one.ids for one in shown]):
        key = shown[place].run.key
        request = known[key.dataset, key.model, key.trial][i]
        texts = [request.subject, request.target_true, request.target_new]
        rows.append([place, i, *texts, *(flags[place][i][name] for name in FLAGS)])
    return SingleEdits([one.entry for one in shown], blocks, rows)


def contexts_of(run: RunFiles, switches: Switches) -> dict[str, list[str]]:
    """The context templates of a run's edit prompts, and of its neighbors' where it has some."""
    method = METHODS[run.key.method]
    contexts = read_json(run.contexts)["templates"][method.context_set]
    neighbor: list[str] = []
    if method.neighbor_assisted:
        neighbor = method.neighbor_contexts(contexts, switches.nap_prefixes)
    return {"contexts": contexts, "neighbor_contexts": neighbor}


def read_prompts(path: Path, requests: Sequence[int]) -> pd.DataFrame:
    """The prompt rows of some requests in a `scores.parquet`, with ranks and top where it has them.

    Raises SchemaError when a column of metrics.SCORE_COLUMNS is missing.
    """
    wanted = [("request", "in", list(requests)), ("kind", "in", list(KINDS))]
    optional = ("ranks", "top", "top_logprobs")
    more = [name for name in RAW_SCORES.present(path) if name in optional]
    return RAW_SCORES.read(path, (*SCORE_COLUMNS, *more), wanted)


def cells(
    scores: pd.DataFrame,
    unedited: pd.DataFrame | None,
    switches: Switches,
    tokens: Numbering,
) -> dict[str, list[list]]:
    """The cells of each request, its prompts in the order of KINDS and then by index.

    A cell is [right, prefers, rank of o*, rank of o, log p(o*), log p(o), token, p, token, p, ...]:
    accuracy and success of the prompt as the metrics have them (None where undefined), ranks from 1
    (a list for an object of several tokens or none, None where not recorded), log-probabilities of
    the whole objects (None without tokens), and the likeliest tokens where the object begins, as
    numbers in ``tokens``, with probabilities in units of 1 / PROBABILITY_STEPS. For a neighbor o is
    its own object, or the unedited model's answer where that was scored (SPEC I18).
    """
    numbers = scores[PROMPT].drop_duplicates().reset_index(drop=True)
    numbers["number"] = np.arange(len(numbers))
    values = request_metrics(
        _each_its_own_request(scores, numbers),
        None if unedited is None else _each_its_own_request(unedited, numbers),
        switches.accuracy,
        switches.success,
    ).set_index("request")
    scores = scores.merge(numbers, on=PROMPT)
    # "own" sorts before "true" and takes its place.
    new, old = (
        frame.drop_duplicates("number").set_index("number").to_dict("index")
        for frame in (
            scores[scores["object"] == "new"],
            scores[scores["object"] != "new"].sort_values("object", kind="stable"),
        )
    )
    said = values.to_dict("index")
    numbers["order"] = numbers["kind"].map({kind: i for i, kind in enumerate(KINDS)})
    result: dict[str, list[list]] = {}
    ordered = numbers.sort_values(["request", "order", "index"])
    columns = ordered[["request", "kind", "number"]]
    for request, kind, place in columns.itertuples(index=False, name=None):
        pair = (new[place], old[place])
        name = "spec" if kind == "neighbor" else "eff"
        cell: list[Any] = [number(said[place][f"{name}_{what}"]) for what in ("acc", "succ")]
        cell += [_rank(one.get("ranks")) for one in pair]
        cell += [_sum(one["logprobs"]) for one in pair]
        for token, log_p in zip(
            pair[0].get("top", ()), pair[0].get("top_logprobs", ()), strict=True
        ):
            cell += [tokens[token], round(PROBABILITY_STEPS * math.exp(log_p))]
        result.setdefault(str(request), []).append(cell)
    return result


def number(value: float, digits: int = 4) -> float | int | str | None:
    """A number for JSON: rounded to ``digits`` significant digits, None for NaN, "inf", "-inf"."""
    value = float(value)
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    rounded = float(f"{value:.{digits}g}")
    rounded = rounded if math.isfinite(rounded) else value  # the largest floats round up to none
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def _each_its_own_request(scores: pd.DataFrame, numbers: pd.DataFrame) -> pd.DataFrame:
    """Every prompt as a request of its own, so that `request_metrics` judges each by itself."""
    rows = scores.merge(numbers, on=PROMPT)
    rows["request"] = rows["number"]
    # A request needs an edit; a neighbor's copy serves as one, and its values are not looked at.
    neighbors = rows[rows["kind"] == "neighbor"]
    return pd.concat([rows.assign(kind="edit"), neighbors], ignore_index=True)


def _rank(ranks: Sequence[int] | None) -> int | list[int] | None:
    if ranks is None:
        return None
    return int(ranks[0]) if len(ranks) == 1 else [int(rank) for rank in ranks]


def _sum(logprobs: Sequence[float]) -> float | str | None:
    """Log-probability of a whole object; None for one without tokens."""
    return number(np.sum(logprobs, dtype=float)) if len(logprobs) else None


def _known(run: RunFiles, ids: Sequence[int]) -> dict[int, Request]:
    """Requests of a trial by id. Raises ValueError where one that was edited is not there."""
    there = {request.id: request for request in read_requests(run.requests)}
    missing = [i for i in ids if i not in there]
    if missing:
        raise ValueError(f"{run.requests}: no request {missing[0]}, which {run.folder} has edited")
    return {i: there[i] for i in ids}


def _facts(known: Sequence[Request], before: pd.DataFrame, switches: Switches) -> dict[str, Any]:
    """The requests of a trial with their unedited cells."""
    texts, tokens = Numbering(), Numbering()
    scored = before[before["kind"] == "neighbor"].groupby("request")["index"].nunique()

    def pairs(neighbors: Iterable[Neighbor]) -> list[list[int]]:
        return [[texts[n.text], texts[n.target]] for n in neighbors]

    requests = {}
    for request in known:
        i = request.id
        neighbors = list(request.neighbors)
        if switches.zsre_locality == "pieces" and request.target_true == NO_TRUE_OBJECT:
            neighbors = _pieces(request, int(scored[i]) if i in scored.index else 0)
        requests[str(i)] = [
            texts[request.subject],
            texts[request.text],
            texts[request.target_new],
            texts[request.target_true],
            [texts[paraphrase] for paraphrase in request.paraphrases],
            pairs(neighbors),
            pairs(request.editing_neighbors),
        ]
    return {
        "requests": requests,
        "before": cells(before, None, switches, tokens),
        "has_top": "top" in before.columns,
        "texts": texts.all(),
        "tokens": tokens.all(),
    }


def _pieces(request: Request, count: int) -> list[Neighbor]:
    """Stand-ins for the pieces of a zsRE answer, whose texts only the tokenizer knows (I20)."""
    whole = request.neighbors[0]
    return [Neighbor(f"{whole.text} [token {j}]", None, whole.target) for j in range(1, count + 1)]


def _run(shown: _Shown, before: pd.DataFrame, switches: Switches) -> dict[str, Any]:
    """Flags, logs and scores of the chosen edits of one run."""
    run, ids = shown.run, shown.ids
    tokens, reasons = Numbering(), Numbering()
    flagged = shown.outcomes.flags.astype(int).to_dict("index")
    edits: dict[str, dict[str, list[Any]]] = {
        str(i): {"flags": [flagged[i][name] for name in FLAGS], "log": [], "cells": []} for i in ids
    }
    for k in shown.entry["iterations"]:
        path = IterationFiles.of(run.folder, k).edits
        log = EDITS.read(path, ("request", *LOG), [("request", "in", list(ids))])
        for row in log.to_dict("records"):
            line = [row["steps"], reasons[row["stop_reason"]], *(number(row[c]) for c in LOG[2:])]
            edits[str(row["request"])]["log"].append(line)
    for k in shown.entry["stages"]:
        now = read_prompts(IterationFiles.of(run.folder, k).scores, ids)
        same = before[before["request"].isin(ids)]
        for i, found in cells(now, same, switches, tokens).items():
            edits[i]["cells"].append(found)
    return {"edits": edits, "tokens": tokens.all(), "reasons": reasons.all()}
