"""The paper's printed numbers: its tables, its hardware, and what is known to be wrong with them.

The folder `printed` holds them as data, its README says what the columns mean. Nothing here was
measured by this project; `comparison` sets our results against it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd
import yaml

from modeledit.evaluation.metrics import COLUMNS, METRICS, REQUEST_METRICS
from modeledit.io.frames import read_csv, require_choice, require_columns

FOLDER = Path(__file__).resolve().parent / "printed"
SEQUENCE_MODELS = ("llama-3-8b-instruct", "gpt-j-6b", "gpt2-xl")  # of sequences.csv
UNEDITED = "Unedited"  # the method of rows with k = 0
KEYS = ("table", "dataset", "model", "method", "k")
FLAGS = ("bold_in_text", "bold_by_rule", "uncertain")  # columns of metric names
_RUN = ["dataset", "model", "method", "k"]

Weight = Literal["suspect", "remark"]


class Suspicion(NamedTuple):
    """What is known against one cell; ``implied`` is what it should have been, where known."""

    id: str
    reason: str
    weight: Weight
    implied: float | None


@dataclass(frozen=True)
class Suspect:
    """An entry of suspects.yaml: a group of cells, None meaning all, and what is the matter."""

    id: str
    reason: str
    weight: Weight
    tables: tuple[int, ...]
    dataset: str | None = None
    model: str | None = None
    methods: tuple[str, ...] | None = None
    k: tuple[int, ...] | None = None
    metrics: tuple[str, ...] | None = None
    implied: Mapping[tuple[str, int, str], float] = field(default_factory=dict)

    def selects(self, row: Mapping, metric: str) -> bool:
        """Whether the cell in column ``metric`` of a row of `read_tables` belongs to the group."""
        return (
            row["table"] in self.tables
            and self.dataset in (None, row["dataset"])
            and self.model in (None, row["model"])
            and (self.methods is None or row["method"] in self.methods)
            and (self.k is None or row["k"] in self.k)
            and (self.metrics is None or metric in self.metrics)
        )


def read_tables(folder: str | Path = FOLDER) -> pd.DataFrame:
    """Tables 1-4 and 6-10, one row per printed row in the paper's order.

    Columns: KEYS, ``n_requests`` (NaN where the table does not say it), METRICS (fractions and
    perplexities as printed, NaN where blank), ``compared`` (bool), FLAGS (tuples of metric names)
    and ``note``. Raises ValueError for missing columns, an unknown metric or a repeated row.
    """
    path = Path(folder) / "tables.csv"
    numbers = {"table": int, "k": int} | dict.fromkeys(("n_requests", *METRICS), float)
    frame = _read_csv(path, numbers)
    require_columns(frame, [*KEYS, "compared", *FLAGS, "note"], str(path))
    for flag in FLAGS:
        frame[flag] = [tuple(names.split()) for names in frame[flag].fillna("")]
        unknown = sorted({name for names in frame[flag] for name in names} - set(METRICS))
        if unknown:
            raise ValueError(f"{path}: {flag}: {unknown} are none of {', '.join(METRICS)}")
    if (repeated := frame[frame.duplicated(list(KEYS))]).shape[0]:
        raise ValueError(f"{path}: the row {repeated.iloc[0][list(KEYS)].to_dict()} occurs twice")
    frame["compared"] = frame["compared"] == "yes"
    return frame.assign(note=frame["note"].fillna(""))


def as_metrics(table: int | Sequence[int], published: pd.DataFrame | None = None) -> pd.DataFrame:
    """Rows of a printed table, or of several, as if one trial had been measured (COLUMNS).

    Every method gets the Unedited row as its k = 0. Of several tables the first that has a cell
    counts: Table 10 has dp2 and Table 6 the rest. dp is absolute, as in metrics.csv (P6). Tables 6
    to 10 hold every k. Raises ValueError for a table that is not among the published ones.
    """
    published = read_tables() if published is None else published
    frames = []
    for number in [table] if isinstance(table, int) else table:
        rows = published[published["table"] == number]
        if rows.empty:
            known = sorted(published["table"].unique().tolist())
            raise ValueError(f"published table {number}: not one of {known}")
        edited, unedited = rows[rows["k"] > 0], rows[rows["k"] == 0].drop(columns="method")
        runs = edited[["dataset", "model", "method"]].drop_duplicates()
        frames += [runs.merge(unedited, on=["dataset", "model"]), edited]
    rows = pd.concat(frames)[[*_RUN, "n_requests", *METRICS]]
    rows = rows.groupby(_RUN, sort=False).first().reset_index()
    return rows.assign(trial=1, dp=rows["dp"].abs())[list(COLUMNS)]


def read_hardware(folder: str | Path = FOLDER) -> pd.DataFrame:
    """Table 5: dataset, model, method, ``gpu`` as printed, ``note``."""
    path = Path(folder) / "hardware.csv"
    frame = _read_csv(path, {})
    require_columns(frame, ("dataset", "model", "method", "gpu", "note"), str(path))
    return frame.assign(note=frame["note"].fillna(""))


def read_sequences(folder: str | Path = FOLDER) -> pd.DataFrame:
    """What others printed of batches edited in sequence: source, dataset, model, method, ``size``
    of a batch, ``edits`` in all, REQUEST_METRICS as fractions and what is not measured here.

    Raises ValueError for a missing column, a repeated row, and a value that is no fraction.
    """
    path = Path(folder) / "sequences.csv"
    frame = _read_csv(path, {"size": int, "edits": int} | dict.fromkeys(REQUEST_METRICS, float))
    keys = ["source", "dataset", "model", "method", "size", "edits"]
    require_columns(frame, keys, str(path))
    if (repeated := frame[frame.duplicated(keys)]).shape[0]:
        raise ValueError(f"{path}: the row {repeated.iloc[0][keys].to_dict()} occurs twice")
    values = frame[list(REQUEST_METRICS)]
    if (wrong := frame[((values < 0) | (values > 1)).any(axis=1)]).shape[0]:
        raise ValueError(f"{path}: {wrong.iloc[0][keys].to_dict()}: fractions are in 0 to 1")
    return frame


def read_suspects(folder: str | Path = FOLDER) -> list[Suspect]:
    """What is wrong with which published cells (SPEC I.b, I.c).

    Raises ValueError for an entry with a missing or unknown key, weight or metric.
    """
    path = Path(folder) / "suspects.yaml"
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [_suspect(entry, f"{path}: entry {i}") for i, entry in enumerate(entries, start=1)]


def suspicion(row: Mapping, metric: str, suspects: Sequence[Suspect]) -> list[Suspicion]:
    """All that is known against the cell in column ``metric`` of a row of `read_tables`."""
    at = (row["method"], row["k"], metric)
    return [
        Suspicion(s.id, s.reason, s.weight, s.implied.get(at))
        for s in suspects
        if s.selects(row, metric)
    ]


def _suspect(entry: dict, where: str) -> Suspect:
    entry = dict(entry)
    known = list(Suspect.__dataclass_fields__)
    if unknown := sorted(set(entry) - set(known)):
        raise ValueError(f"{where}: unknown keys {unknown}; allowed: {', '.join(known)}")
    if missing := sorted({"id", "reason", "weight", "tables"} - set(entry)):
        raise ValueError(f"{where}: missing keys {missing}")
    require_choice(f"{where}: weight", entry["weight"], ("suspect", "remark"))
    for key in ("tables", "methods", "k", "metrics"):
        value = entry.get(key)
        entry[key] = None if value in (None, "all") else tuple(value)
    entry["implied"] = {
        (row["method"], row["k"], metric): float(value)
        for row in entry.get("implied", ())
        for metric, value in row["values"].items()
    }
    named = {*(entry["metrics"] or ()), *(metric for _, _, metric in entry["implied"])}
    if unknown := sorted(named - set(METRICS)):
        raise ValueError(f"{where}: metrics {unknown} are none of {', '.join(METRICS)}")
    return Suspect(**entry)


def _read_csv(path: Path, numbers: Mapping[str, type]) -> pd.DataFrame:
    """Text stays text, blank fields are missing, numbers are read to the last bit."""
    frame = read_csv(path, str)
    require_columns(frame, list(numbers), str(path))
    return frame.astype(dict(numbers))
