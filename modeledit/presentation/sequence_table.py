"""The table of sequences of batches: each method after the last batch, and what is published."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from modeledit.evaluation.aggregation import Averaging, span
from modeledit.evaluation.metrics import METRICS
from modeledit.evaluation.sequences import CELL, last_batch, over_trials
from modeledit.paper.comparison import DIFFERS, MATCH
from modeledit.presentation.typesetting import html_value
from modeledit.study.methods import METHODS

UNEDITED = "Unedited"
CAPTION = (
    "Batches in sequence on {dataset}: each batch is edited into the model that the batches before"
    " it left, up to its stop. Efficacy, generalization and specificity (%) of everything edited,"
    " after the last batch, by success (S) and accuracy (A), with their scores. Moved: how far the"
    " edited matrix that moved most is from the unedited one, in % of its norm (Frobenius). Iter.:"
    " iterations of a batch, the mean."
)
PRINTED = {  # column of `rows`: heading
    "eff_succ": "Eff. S", "gen_succ": "Gen. S", "spec_succ": "Spec. S", "score_succ": "Score S",
    "eff_acc": "Eff. A", "gen_acc": "Gen. A", "spec_acc": "Spec. A", "score_acc": "Score A",
    "me_ppl": "ME-PPL-50", "norm_change": "Moved", "iterations": "Iter.",
}  # fmt: skip
NUMBERS = tuple(PRINTED.values())
COLUMNS = (
    "dataset", "model", "method", "source", "size", "batches", "edits", "n_trials", "n_requests",
    *PRINTED, "collapsed_after",
)  # fmt: skip


@dataclass(frozen=True)
class SequenceTable:
    """Rows unrounded, the same as text, and the sentences under them (marked)."""

    rows: pd.DataFrame
    printed: pd.DataFrame
    note: str


def build(
    sequences: pd.DataFrame,
    comparison: pd.DataFrame,
    titles: Mapping[str, str],
    averaging: Averaging,
    note: str = "",
) -> SequenceTable:
    """The table of all sequences of one dataset, from rows of sequences.csv.

    A published row stands below a method whose cells of ``comparison`` have a verdict on it.
    ``titles`` are the models' printed names.
    """
    means = over_trials(sequences, averaging)
    found: list[dict[str, object]] = []
    for (model, size), of_model in means.groupby(["model", "size"], sort=False):
        place = {"dataset": sequences["dataset"].iloc[0], "model": model, "size": size}
        zero = of_model[of_model["batch"] == 0].sort_values("n_trials", kind="stable").iloc[-1]
        nothing = {"batches": 0, "norm_change": None, "iterations": None}
        found.append(place | _measured(UNEDITED, zero) | nothing)
        found += _published(place, UNEDITED, comparison)
        for method in (name for name in METHODS if name in set(of_model["method"])):
            cell = dict(zip(CELL, (place["dataset"], model, method, size), strict=True))
            raw = sequences[(sequences[list(CELL)] == pd.Series(cell)).all(axis=1)]
            found.append(place | _last(method, raw, of_model[of_model["method"] == method]))
            found += _published(place, method, comparison)
    rows = pd.DataFrame(found).reindex(columns=list(COLUMNS))
    return SequenceTable(rows, _printed(rows, titles), _note(rows, titles, note))


def _measured(method: str, row: pd.Series) -> dict[str, object]:
    kept = ("edits", "n_trials", "n_requests", *PRINTED)
    return {name: row[name] for name in kept} | {"method": method, "source": ""}


def _last(method: str, raw: pd.DataFrame, means: pd.DataFrame) -> dict[str, object]:
    """A method after the last batch that all its trials have."""
    last = last_batch(raw)
    every = means[(means["group"] == "all") & means["batch"].between(1, last)]
    row = _measured(method, every[every["batch"] == last].iloc[0])
    collapsed = every.loc[every["collapsed"], "edits"]
    return row | {
        "batches": last,
        "iterations": every["iterations"].mean(),
        "collapsed_after": None if collapsed.empty else int(collapsed.min()),
    }


def _published(
    place: Mapping[str, object], method: str, comparison: pd.DataFrame
) -> Iterator[dict[str, object]]:
    """Published rows of a method with a verdict on ours."""
    rows = comparison[comparison["verdict"].isin((MATCH, DIFFERS))]
    rows = rows[rows["method"] == method]
    for name, value in place.items():
        rows = rows[rows[name] == value]
    for source, cells in rows.groupby("source", sort=False):
        values = dict(zip(cells["metric"], cells["published"], strict=True))
        yield (
            dict(place)
            | values
            | {
                "method": method,
                "source": source,
                "edits": cells["edits"].iloc[0],
            }
        )


def _printed(rows: pd.DataFrame, titles: Mapping[str, str]) -> pd.DataFrame:
    """Text of every cell, "--" where there is no value."""
    lines = []
    marks = _sources(rows)
    for row in rows.to_dict("records"):
        cross = "†" if pd.notna(row["collapsed_after"]) else ""
        line = {
            "Model": titles.get(row["model"], row["model"]),
            "Method": f"{row['method']}{cross}{marks[row['source']]}",
            "Edits": _edits(row),
        }
        lines.append(line | {text: _text(name, row[name]) for name, text in PRINTED.items()})
    frame = pd.DataFrame(lines)
    frame["Model"] = frame["Model"].mask(frame["Model"] == frame["Model"].shift(), "")
    return frame


def _sources(rows: pd.DataFrame) -> dict[str, str]:
    """The mark of each published source, by which the note names it; "" of ours."""
    published = [name for name in dict.fromkeys(rows["source"]) if name]
    return {"": ""} | {name: f" [{i}]" for i, name in enumerate(published, start=1)}


def _edits(row: Mapping) -> str:
    if row["method"] == UNEDITED:
        return "0"
    if row["source"]:
        return f"{row['edits']:.0f}"
    return f"{row['batches']:.0f} × {row['size']}"


def _text(name: str, value: float) -> str:
    """A number as the other tables print it; two digits of what they do not have."""
    if pd.isna(value):
        return "--"
    if name in ("norm_change", "iterations"):
        return f"{value if name == 'iterations' else 100 * value:.2f}"
    if name == "me_ppl" and value >= 1e5 and value < float("inf"):
        return f"{value:.2e}"
    return str(html_value(value, METRICS[name].unit))


def _note(rows: pd.DataFrame, titles: Mapping[str, str], note: str) -> str:
    """What is below the table: trials, collapses, what is published."""
    said = []
    run = rows.loc[rows["n_trials"].notna(), "n_trials"]
    if run.max() > 1:
        said.append(f"Means over {span(run.astype(int))} trials.")
    collapsed = rows[rows["collapsed_after"].notna()]
    if len(collapsed):
        where = ", ".join(
            f"{row['method']} on {titles.get(row['model'], row['model'])} after"
            f" {row['collapsed_after']:.0f} edits"
            for row in collapsed.to_dict("records")
        )
        said.append(f"† Collapsed (ME-PPL-50 above 1000, or values that are not finite): {where}.")
    said += [
        f"{mark.strip()} published: {source}; each batch edited once."
        for source, mark in _sources(rows).items()
        if source
    ]
    said.append("--: not measured.")
    return " ".join([*said, note]).strip()
