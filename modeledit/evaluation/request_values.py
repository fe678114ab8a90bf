"""Metrics of every request of all runs, from their files."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from modeledit.evaluation.metrics import (
    REQUEST_METRICS,
    RUN,
)
from modeledit.evaluation.schemas import EDITS, REQUEST_VALUES
from modeledit.study.layout import RunKey, iteration_of

ByIteration = dict[int, pd.DataFrame]
"""Rows of one trial by k = 1, 2, ..."""


def values_by_trial(paths: Sequence[Path]) -> dict[int, ByIteration]:
    """Per-request values of each trial of a method, the unedited ones left out.

    ``paths`` are the request_metrics.parquet of the trials.
    """
    found: dict[int, ByIteration] = {}
    for path in paths:
        frame = REQUEST_VALUES.read(path)
        edited = frame[frame["k"] > 0]
        ks = sorted(int(k) for k in edited["k"].unique())
        found[RunKey.of(path).trial] = {k: edited[edited["k"] == k] for k in ks}
    return found


def logs_by_trial(paths: Sequence[Path]) -> dict[int, ByIteration]:
    """Logs of each trial of a method, of those iterations that edited.

    ``paths`` are edits.parquet of its iterations.
    """
    found: dict[int, ByIteration] = {}
    for path in paths:
        run, k = iteration_of(path)
        frame = EDITS.read(path)
        if not frame.empty:
            found.setdefault(run.trial, {})[k] = frame
    return found


def read_requests(paths: Sequence[str | Path], edits: Sequence[str | Path] = ()) -> pd.DataFrame:
    """The runs' per-request values in one frame: RUN, k, request, REQUEST_METRICS.

    ``paths`` are request_metrics.parquet in the runs' folders, whose names say dataset, model,
    method and trial. With ``edits`` (.../trial{t}/iter{k}/edits.parquet) the columns p_bar and
    p_hat are joined, NaN where there is none. Raises ValueError for another path or content.
    """
    frames = []
    for path in map(Path, paths):
        values = REQUEST_VALUES.read(path)
        frames.append(values.assign(**RunKey.of(path.parent)._asdict()))
    columns = [*RUN, "k", "request", *REQUEST_METRICS]
    requests = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    if not edits:
        return requests[columns]
    logs = []
    for path in map(Path, edits):
        run, k = iteration_of(path.parent)
        values = EDITS.read(path, ("request", "p_bar", "p_hat"))
        if not values.empty:  # a run that had stopped leaves empty logs
            logs.append(values.assign(**run._asdict(), k=k))
    keys = [*RUN, "k", "request"]
    log = pd.concat(logs) if logs else pd.DataFrame(columns=[*keys, "p_bar", "p_hat"])
    return requests[columns].merge(log, how="left", on=keys, validate="one_to_one")
