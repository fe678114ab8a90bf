"""Made-up raw files of states, and values of made-up runs, for tests of behavior."""

from collections.abc import Mapping, Sequence

import pandas as pd

from modeledit.evaluation.metrics import RUN
from modeledit.evaluation.schemas import BEHAVIOR_VALUES, DRIFT, GENERATIONS

NEW, OLD = 7, 8  # token ids of the two objects


def said(rows: Sequence[tuple[int, str, int, str, str]]) -> pd.DataFrame:
    """GENERATIONS rows of (request, kind, index, prompt, text)."""
    frame = pd.DataFrame(rows, columns=["request", "kind", "index", "prompt", "text"])
    frame = frame.assign(token_ids=[[1]] * len(frame), ended="length")
    return frame[list(GENERATIONS.names)]


def forced(rows: Mapping[tuple[int, str, int], bool]) -> pd.DataFrame:
    """Scores of o*: whether teacher forcing finds it, by (request, kind, index)."""
    return pd.DataFrame(
        [
            {"request": request, "kind": kind, "index": index, "object": "new"}
            | {"token_ids": [NEW, NEW], "argmax": [NEW, NEW if hit else OLD]}
            for (request, kind, index), hit in rows.items()
        ]
    )


def drift(rows: Sequence[tuple[int, int, float, float, float]]) -> pd.DataFrame:
    """DRIFT rows."""
    return pd.DataFrame(rows, columns=list(DRIFT.names))


def values(
    method: str,
    states: Mapping[str, tuple[int, Mapping[str, Sequence[float]]]],
    trial: int = 1,
    model: str = "tiny",
) -> pd.DataFrame:
    """What `read_values` gives of a run: by state its k, and by metric a value per request."""
    rows = [
        {"dataset": "places", "model": model, "method": method, "trial": trial, "state": state}
        | {"request": request, "k": k, "metric": metric, "value": value}
        for state, (k, metrics) in states.items()
        for metric, found in metrics.items()
        for request, value in enumerate(found)
    ]
    return pd.DataFrame(rows)[[*RUN, *BEHAVIOR_VALUES.names]]
