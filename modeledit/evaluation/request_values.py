"""Metrics of every request of all runs, from their files."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from modeledit.evaluation.metrics import (
    REQUEST_METRICS,
    RUN,
)
from modeledit.io.frames import require_columns
from modeledit.study.layout import RunKey, iteration_of


def read_requests(paths: Sequence[str | Path], edits: Sequence[str | Path] = ()) -> pd.DataFrame:
    """The runs' per-request values in one frame: RUN, k, request, REQUEST_METRICS.

    Dataset, model, method and trial come from .../{dataset}/{model}/{method}/trial{t}/
    requests.parquet. With ``edits`` (.../trial{t}/iter{k}/edits.parquet) the columns p_bar and
    p_hat are joined, NaN where there is none. Raises ValueError for another path or content.
    """
    frames = []
    for path in map(Path, paths):
        frame = pd.read_parquet(path)
        require_columns(frame, ("request", "k", *REQUEST_METRICS), str(path))
        frames.append(frame.assign(**RunKey.of(path.parent)._asdict()))
    columns = [*RUN, "k", "request", *REQUEST_METRICS]
    requests = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    if not edits:
        return requests[columns]
    logs = []
    for path in map(Path, edits):
        run, k = iteration_of(path.parent)
        frame = pd.read_parquet(path)
        if not frame.empty:  # a run that had stopped leaves empty logs
            require_columns(frame, ("request", "p_bar", "p_hat"), str(path))
            values = frame[["request", "p_bar", "p_hat"]]
            logs.append(values.assign(**run._asdict(), k=k))
    keys = [*RUN, "k", "request"]
    log = pd.concat(logs) if logs else pd.DataFrame(columns=[*keys, "p_bar", "p_hat"])
    return requests[columns].merge(log, how="left", on=keys, validate="one_to_one")
