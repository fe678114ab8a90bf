"""What a model says when it writes on by itself, held against the objects it should say.

An object is said where its words are, whole: "Rome" is not in "Romeo". The case of letters does not
count: text is compared in Unicode's folded case and composed form (NFC), and any white space
between words is as good as a blank. A word ends where no letter, digit, underscore or combining
mark follows. Wide characters (Chinese, Japanese, Korean) are words of their own, since these
scripts set no blanks around a name; Thai and its like, which set none either, are not told apart.

What is said without help is less than what teacher forcing finds: there the model is given the
object's first tokens, however it would have begun (arXiv:2502.11177). ``gap_`` says how much less.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from modeledit.evaluation.schemas import GENERATIONS, RAW_SCORES
from modeledit.io.frames import require_columns

FORCED_COLUMNS = ("request", "kind", "index", "object", "token_ids", "argmax")
_PROMPT = ["request", "kind", "index"]


class Prompt(NamedTuple):
    """A prompt of a request: its kind (edit, paraphrase, neighbor) and full text."""

    request: int
    kind: str
    text: str


@dataclass(frozen=True)
class Objects:
    """What may be said after a prompt: each a name and then its aliases.

    `true` is o, of a neighbor its own object; empty where there is none.
    """

    new: tuple[str, ...]
    true: tuple[str, ...] = ()


def begins(text: str, names: Sequence[str]) -> bool:
    """Whether `text` begins with one of `names` as whole words, after any white space."""
    said = _folded(text)
    return any(_at(said, name, 0) for name in map(_folded, names) if name)


def contains(text: str, names: Sequence[str]) -> bool:
    """Whether one of `names` occurs in `text` as whole words."""
    said = _folded(text)
    return any(
        _at(said, name, start)
        for name in map(_folded, names)
        if name
        for start in _occurrences(said, name)
    )


def _folded(text: str) -> str:
    """Text in one case and composition, with single blanks between words and none around."""
    return " ".join(unicodedata.normalize("NFC", text.casefold()).split())


def _occurrences(text: str, name: str) -> Iterator[int]:
    start = text.find(name)
    while start >= 0:
        yield start
        start = text.find(name, start + 1)


def _at(text: str, name: str, start: int) -> bool:
    """Whether `name` stands in `text` at `start` and is no part of longer words."""
    end = start + len(name)
    if not text.startswith(name, start):
        return False
    before, after = text[start - 1 : start] if start else "", text[end : end + 1]
    return not (_joined(before, name[0]) or _joined(name[-1], after))


def _joined(left: str, right: str) -> bool:
    """Whether two neighboring characters are of one word; "" is where the text ends."""
    if right and unicodedata.category(right).startswith("M"):
        return True
    return _of_word(left) and _of_word(right)


def _of_word(character: str) -> bool:
    if not character or unicodedata.east_asian_width(character) in ("W", "F"):
        return False
    letter = character.isalnum() or character == "_"
    return letter or unicodedata.category(character).startswith("M")


def request_says(
    generations: pd.DataFrame,
    objects: Mapping[Prompt, Objects],
    scores: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """What each request's continuations say: one row per request and metric.

    ``generations`` are GENERATIONS rows of kinds edit, paraphrase and neighbor, ``objects`` what
    their prompts ask for; a neighbor's prompt that is not among them is a piece of an answer (I20)
    and is left out. ``said_``, ``kept_`` and ``leaked_`` want the object first (`begins`),
    ``mentioned_`` anywhere. With the RAW_SCORES rows ``scores`` of the same state, ``forced_`` is
    1 where every token of o* is the argmax, and ``gap_`` that minus whether the continuation begins
    with o* itself, without its aliases: both are about the same words.

    Returns ``request``, ``metric`` (of `behavior_metrics`) and ``value``, the mean over the
    request's prompts; a metric without a prompt has no row. Raises ValueError for a prompt that no
    request has, and where a continued prompt was not scored.
    """
    require_columns(generations, GENERATIONS.names, "generations")
    rows = [
        row | {"asked": objects.get(Prompt(row["request"], row["kind"], row["prompt"]))}
        for row in generations.to_dict("records")
    ]
    for row in rows:
        if row["asked"] is None and row["kind"] != "neighbor":
            raise ValueError(
                f"generations: request {row['request']} has no {row['kind']} prompt"
                f" {row['prompt']!r}; continue the prompts of these requests again"
            )
    forced = None if scores is None else _forced(scores)
    found = [
        (row["request"], metric, float(value))
        for row in rows
        if row["asked"] is not None
        for metric, value in _of_prompt(row, row["asked"], forced)
    ]
    return mean_values(found)


def mean_values(found: Sequence[tuple[int, str, float]]) -> pd.DataFrame:
    """Means of (request, metric, value) over the prompts of each request, sorted by request."""
    frame = pd.DataFrame(found, columns=["request", "metric", "value"])
    frame = frame.astype({"request": "int64", "metric": object, "value": float})
    return (
        frame.groupby(["metric", "request"], sort=True)["value"]
        .mean()
        .reset_index()[["request", "metric", "value"]]
    )


def _of_prompt(
    row: Mapping, asked: Objects, forced: Mapping[tuple, bool] | None
) -> Iterator[tuple[str, float]]:
    """(metric, value) of one continuation."""
    kind, text = row["kind"], row["text"]
    if kind == "neighbor":
        yield "leaked_neighbor", begins(text, asked.new)
        if asked.true:
            yield "kept_neighbor", begins(text, asked.true)
            yield "mentioned_neighbor", contains(text, asked.true)
        return
    yield f"said_new_{kind}", begins(text, asked.new)
    yield f"mentioned_new_{kind}", contains(text, asked.new)
    if asked.true:
        yield f"said_old_{kind}", begins(text, asked.true)
    if forced is None:
        return
    place = (row["request"], kind, row["index"])
    if place not in forced:
        raise ValueError(f"scores: no row of o* for {place}, which was continued; score them again")
    yield f"forced_{kind}", forced[place]
    yield f"gap_{kind}", float(forced[place]) - begins(text, asked.new[:1])


def _forced(scores: pd.DataFrame) -> dict[tuple, bool]:
    """Whether the model is right about o* by teacher forcing, by (request, kind, index)."""
    require_columns(scores, FORCED_COLUMNS, RAW_SCORES.file)
    rows = scores[(scores["object"] == "new") & scores["kind"].isin(("edit", "paraphrase"))]
    return dict(zip(rows[_PROMPT].itertuples(index=False, name=None), hits(rows), strict=True))


def hits(rows: pd.DataFrame) -> list[bool]:
    """Of RAW_SCORES rows, whether each token of the object is what the model would say.

    An object without tokens of its own is not said.
    """
    pairs = zip(rows["token_ids"], rows["argmax"], strict=True)
    return [len(ids) > 0 and np.array_equal(ids, said) for ids, said in pairs]
