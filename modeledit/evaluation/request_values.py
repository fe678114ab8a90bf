"""Metrics of every request of all runs, from their files."""

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from modeledit.evaluation.metrics import (
    REQUEST_METRICS,
    RUN,
)
from modeledit.io.frames import require_columns


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
        frames.append(frame.assign(**_run_of(path, path.parent)))
    columns = [*RUN, "k", "request", *REQUEST_METRICS]
    requests = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    if not edits:
        return requests[columns]
    logs = []
    for path in map(Path, edits):
        found = re.fullmatch(r"iter(\d+)", path.parent.name)
        if not found:
            raise ValueError(f"{path}: the path must end in trial<t>/iter<k>/{path.name}")
        frame = pd.read_parquet(path)
        if not frame.empty:  # a run that had stopped leaves empty logs
            require_columns(frame, ("request", "p_bar", "p_hat"), str(path))
            run = _run_of(path, path.parent.parent)
            logs.append(frame[["request", "p_bar", "p_hat"]].assign(**run, k=int(found[1])))
    keys = [*RUN, "k", "request"]
    log = pd.concat(logs) if logs else pd.DataFrame(columns=[*keys, "p_bar", "p_hat"])
    return requests[columns].merge(log, how="left", on=keys, validate="one_to_one")


def _run_of(path: Path, folder: Path) -> dict[str, object]:
    """Dataset, model, method and trial from the folder of a run."""
    found = re.fullmatch(r"trial(\d+)", folder.name)
    names = folder.parts[-4:-1]
    if not found or len(names) < 3:
        raise ValueError(
            f"{path}: the path must hold <dataset>/<model>/<method>/trial<t>, not {folder}"
        )
    return dict(zip(RUN, (*names, int(found[1])), strict=True))
