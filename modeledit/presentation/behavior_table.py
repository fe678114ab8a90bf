"""The table of what models say, write and keep: the unedited model, k = 1 and the stop."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from modeledit.evaluation.behavior_metrics import BEHAVIOR_METRICS, headed
from modeledit.evaluation.significance import ALPHA
from modeledit.presentation.typesetting import html_value
from modeledit.study.methods import METHODS

UNEDITED = "Unedited"
CAPTION = (
    "What models say on {dataset}, writing on greedily by themselves: before the edit, after k = 1"
    " and at the stop. A model says the new object where its continuation begins with it, and keeps"
    " a neighbor where it begins with the neighbor's own. The teacher-forcing gap is accuracy by"
    " teacher forcing minus what is said."
)
NOTES = {  # metrics: what a table that has one of them says below
    ("fluency",): "Fluency: weighted entropy of bigrams and trigrams (arXiv:2202.05262).",
    ("drift_kl", "drift_ppl"): (
        "KL to the unedited model, and perplexity, are means over the positions of texts that no"
        " edit is about."
    ),
    ("two_hop_said", "inverse_said", "alias_said", "subject_said", "negation_held"): (
        "Probes are passed where the continuation mentions an accepted answer, a negation where it"
        " does not mention the new object."
    ),
}
STATES = {"first": "k = 1", "stop": "stop"}
MARKS = {"iterating": "*", "neighbor": "†"}


@dataclass(frozen=True)
class BehaviorTable:
    """Rows unrounded, the same as text, the columns of numbers, and the sentences below."""

    rows: pd.DataFrame
    printed: pd.DataFrame
    numbers: tuple[str, ...]
    note: str


def build(
    behavior: pd.DataFrame, tests: pd.DataFrame, titles: Mapping[str, str], note: str = ""
) -> BehaviorTable:
    """The table of one dataset, from its BEHAVIOR and BEHAVIOR_TESTS rows: a row for each metric, a
    column for each state of each method.

    ``titles`` are the models' printed names. Raises ValueError if there is nothing.
    """
    measured = set(behavior["metric"])
    columns = [n for n, metric in BEHAVIOR_METRICS.items() if metric.main and n in measured]
    if not columns:
        raise ValueError("table: nothing was measured of the behavior of models")
    marks = _marks(tests)
    frames = []
    for model, of_model in behavior.groupby("model", sort=False):
        title = titles.get(str(model), str(model))
        before = of_model.dropna(subset="unedited").drop_duplicates("metric")
        values = dict(zip(before["metric"], before["unedited"], strict=True))
        values_by_column = {UNEDITED: ["0", *(_text(n, values.get(n)) for n in columns)]}
        for method in (name for name in METHODS if name in set(of_model["method"])):
            of_method = of_model[of_model["method"] == method]
            for state, words in STATES.items():
                rows = of_method[of_method["state"] == state].set_index("metric")
                if rows.empty:
                    continue
                cells = [f"{rows['k'].iloc[0]:.3g}"]
                for name in columns:
                    mark = marks.get((model, method, name), "") if state == "stop" else ""
                    cells.append(_text(name, rows["value"].get(name)) + mark)
                values_by_column[f"{method}, {words}"] = cells
        names = {"Model": [title, *[""] * len(columns)], "": ["k", *map(_heading, columns)]}
        frames.append(pd.DataFrame(names | values_by_column))
    printed = pd.concat(frames, ignore_index=True).fillna("--")
    numbers = tuple(str(name) for name in printed.columns[2:])
    return BehaviorTable(behavior, printed, numbers, _note(columns, tests, marks, note))


def _heading(name: str) -> str:
    """The heading of a metric's row."""
    words = headed(BEHAVIOR_METRICS[name])
    return words[:1].upper() + words[1:]


def _text(name: str, value: float | None) -> str:
    """A number as the other tables print it, "--" where there is none."""
    unit = BEHAVIOR_METRICS[name].unit
    number = float("nan") if value is None else float(value)
    if unit in ("nats", "cosine") and abs(number) < float("inf"):
        return f"{number:.3f}"
    if unit == "perplexity" and 1e5 <= number < float("inf"):
        return f"{number:.2e}"
    return str(html_value(number, unit))


def _marks(tests: pd.DataFrame) -> dict[tuple, str]:
    """Marks by model, method and metric of what differs after correction."""
    found: dict[tuple, str] = {}
    for row in tests[tests["p_corrected"] <= ALPHA].to_dict("records"):
        key = (row["model"], row["a"], row["metric"])
        found[key] = found.get(key, "") + MARKS[row["comparison"]]
    return found


def _note(columns: list[str], tests: pd.DataFrame, marks: Mapping[tuple, str], note: str) -> str:
    """What is below the table."""
    said = [words for names, words in NOTES.items() if set(names) & set(columns)]
    if len(tests):
        used = set("".join(mark for key, mark in marks.items() if key[-1] in columns))
        against = {"*": "the same method after k = 1", "†": "the method without neighbors"}
        found = [f"{mark} differs from {words}" for mark, words in against.items() if mark in used]
        held = "; ".join(found) if found else "nothing differs"
        said.append(
            "At the stop, by paired permutation tests on the same requests, p corrected after Holm"
            f" over the tests of a dataset and model, at {ALPHA:.0%}: {held}."
        )
    said.append("--: not measured.")
    return " ".join([*said, note]).strip()
