"""Trials: disjoint samples of requests, so that their metrics can be averaged as repetitions.

The paper's three trials share no request (SPEC E.1, E.2). Two requests count as the same when they
share the id or the pair (subject, prompt): a dataset may list one fact twice under two ids.
"""

import random
from collections.abc import Iterable
from pathlib import Path

from modeledit.data.records import RequestError
from modeledit.data.requests import Request
from modeledit.io.refusal import Refusal

NAMED = 5  # requests that a message names


def split_trials(
    requests: Iterable[Request], count: int, size: int, seed: int
) -> list[list[Request]]:
    """Draw `count` trials of `size` requests each, no request in two of them.

    The draw depends on `seed` and on which requests there are, not on their order. Requests are
    disjoint by id and by (subject, prompt) within a trial and between trials; of duplicates the
    one with the lowest id is used.

    Raises `ValueError` when `count` or `size` is below 1, or when there are fewer than
    `count * size` distinct requests.
    """
    if count < 1 or size < 1:
        raise ValueError(f"trials: count and size must be at least 1, got {count} and {size}")
    distinct, left_out = _distinct(requests)
    wanted = count * size
    if wanted > len(distinct):
        why = f" ({'; '.join(left_out[:NAMED])})" if left_out else ""
        raise Refusal(
            f"trials: {count} trials of {size} need {wanted} distinct requests, but there are "
            f"{len(distinct)}{why}; allowed: {_allowed(len(distinct), count, size)}"
        )
    drawn = random.Random(seed).sample(distinct, wanted)
    return [drawn[start : start + size] for start in range(0, wanted, size)]


def check_batches(path: Path, there: int, size: int, count: int) -> None:
    """Raise RequestError unless the `there` requests in `path` fill `count` batches of `size`."""
    if size * count > there:
        fill = there // size
        batches = f"{fill} batches of {size}" if fill > 1 else f"batches of {there} at most"
        raise RequestError(
            f"{path}: {there} requests, {count} batches of {size} ask for {size * count}; take "
            f"{batches}, or raise trials.size"
        )


def _allowed(there: int, count: int, size: int) -> str:
    """What `there` requests suffice for, in place of `count` trials of `size`."""
    fewer = f"size at most {there // count}" if there >= count else ""
    less = f"{there // size} trials of {size}" if there >= size else ""
    return " or ".join(filter(None, (fewer, less))) or f"count * size at most {there}"


def _distinct(requests: Iterable[Request]) -> tuple[list[Request], list[str]]:
    """The requests sorted by id, without those that repeat an id or a (subject, prompt).

    Also a word on each of those that were left out.
    """
    ids: set[int] = set()
    facts: dict[tuple[str, str], int] = {}
    kept, left_out = [], []
    # repr settles the order of requests that share an id, whatever the order they came in.
    for request in sorted(requests, key=lambda r: (r.id, repr(r))):
        fact = (request.subject, request.prompt)
        if request.id in ids:
            left_out.append(f"id {request.id} occurs twice")
        elif fact in facts:
            left_out.append(f"{request.id} is about the same fact as {facts[fact]}")
        else:
            ids.add(request.id)
            facts[fact] = request.id
            kept.append(request)
    return kept, left_out
