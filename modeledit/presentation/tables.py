"""The paper's tables from metrics: what each one shows is a spec, how it looks is `typesetting`.

A `TableSpec` says which rows (k = 1 and the stop, the stops only, what the stopping criteria pick,
or every k), which metrics, and which rows are compared for bold print. `build` turns it and a
metrics frame (`metrics.csv` of all runs) into a `Table`: unrounded values with flags. A further
table is a further spec.

Captions and footnotes are plain text with three marks: **bold**, *italic*, `code`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from modeledit.evaluation.aggregation import (
    Averaging,
    Cell,
    Pick,
    at_picks,
    by_cell,
    by_iteration,
    picks,
)
from modeledit.evaluation.metrics import COLLAPSED_ABOVE, FRACTIONS, METRICS
from modeledit.study import stopping
from modeledit.study.methods import METHODS

PLAIN = tuple(m.name for m in METHODS.values() if m.plain)
BARE = tuple(  # plain, NA_, NA2_, ...
    m.name for m in METHODS.values() if not m.neighbor_prefixed and not m.probe
)
STAGED = tuple(  # plain, and with one stage repeated
    m.name for m in METHODS.values() if m.write == "spread" and not m.neighbor_assisted
)
PAPER = tuple(m.name for m in METHODS.values() if m.in_paper)
PAIRED = tuple(name for name in PAPER if name in BARE and name != "ROME")
PREFIXED = tuple(name for name in PAPER if name != "ROME")  # plain, NA_, NAP_
RULES = {"proposed": "green", "monotonic": "orange", "small_change": "purple"}  # SPEC C.4

_RESULT = (*FRACTIONS, "me_ppl", "dp")
_DETAIL = (*FRACTIONS, "me_ppl", "p_bar", "p_hat", "dp")
_ACCURACY = ("eff_acc", "gen_acc", "spec_acc", "score_acc")
_RULES_SAY = (
    " P (green): the proposed criterion, the first *k* with |Δp_k| ≤ {epsilon}. M (orange): the"
    " last *k* before |Δp_k| stops decreasing. S (purple): the first *k* whose perplexity moved by"
    " at most 1 from the iteration before (Δp_2). A criterion that never fires picks no row."
)


@dataclass(frozen=True)
class TableSpec:
    """What a table shows. ``caption`` is marked text, with {dataset} and {epsilon} to be filled."""

    rows: Literal["first_and_stop", "stops", "picks", "all"]
    bold: Literal["first_and_stop", "family", "picks", "none"]  # rows that compete for bold print
    columns: tuple[str, ...]
    methods: tuple[str, ...]
    caption: str
    long: bool = False  # may break over pages
    show_requests: bool = False  # print the number of requests under the model's name
    show_rules: bool = False  # a column that says which criterion picks a row
    unedited: bool = True


SPECS: dict[str, TableSpec] = {
    # paper, Table 1
    "iterative": TableSpec(
        rows="first_and_stop",
        bold="first_and_stop",
        columns=_RESULT,
        methods=PLAIN,
        caption="Iterative model editing on {dataset}: each method after its first iteration and"
        " at the iteration *k* that meets the stopping criterion |Δp_k| ≤ {epsilon}. The higher of"
        " the two values is **bold**; methods whose model collapsed are left plain.",
    ),
    # paper, Table 6 (and, on another dataset, Table 7)
    "iterative_all": TableSpec(
        rows="all",
        bold="first_and_stop",
        columns=_DETAIL,
        methods=PLAIN,
        caption="Iterative model editing on {dataset}, all iterations. Green: the stop"
        " (|Δp_k| ≤ {epsilon}), compared with the method's first iteration, the higher value in"
        " **bold**. Red: collapsed models (ME-PPL-50 above 1000).",
        long=True,
    ),
    # paper, Table 2
    "neighbor": TableSpec(
        rows="stops",
        bold="family",
        columns=_RESULT,
        methods=PAIRED,
        caption="Neighbor-assisted model editing (`NA_`) on {dataset}: each method with and"
        " without a neighbor in its loss, each at its own stop (|Δp_k| ≤ {epsilon}). The higher"
        " value of a pair is **bold**. #: number of requests; only requests whose neighbors the"
        " unedited model completes correctly take part, so the rows compare with each other only.",
        show_requests=True,
    ),
    # paper, Table 8
    "neighbor_all": TableSpec(
        rows="all",
        bold="family",
        columns=_DETAIL,
        methods=PAIRED,
        caption="Neighbor-assisted model editing (`NA_`) on {dataset}, all iterations. Green: each"
        " method's stop (|Δp_k| ≤ {epsilon}), the higher value of a pair in **bold**. Red:"
        " collapsed models (ME-PPL-50 above 1000). #: number of requests.",
        long=True,
        show_requests=True,
    ),
    # paper, Table 3
    "prefix": TableSpec(
        rows="stops",
        bold="family",
        columns=_ACCURACY,
        methods=PREFIXED,
        caption="Should the neighbor's prompt carry a generated prefix? Accuracies on {dataset}"
        " without a neighbor, with a bare one (`NA_`) and with a prefixed one (`NAP_`), each method"
        " at its own stop (|Δp_k| ≤ {epsilon}). The highest value is **bold**.",
        show_requests=True,
    ),
    # paper, Table 9
    "prefix_all": TableSpec(
        rows="all",
        bold="family",
        columns=_DETAIL,
        methods=PREFIXED,
        caption="Bare (`NA_`) and prefixed (`NAP_`) neighbors on {dataset}, all iterations. Green:"
        " each method's stop (|Δp_k| ≤ {epsilon}), the highest value in **bold**. Red: collapsed"
        " models (ME-PPL-50 above 1000).",
        long=True,
        show_requests=True,
    ),
    # paper, Table 4
    "stopping": TableSpec(
        rows="picks",
        bold="picks",
        columns=("score_acc", "dp", "dp2"),
        methods=PLAIN,
        caption="What three stopping criteria pick on {dataset}; the higher score is **bold**."
        + _RULES_SAY,
        show_rules=True,
        unedited=False,
    ),
    # paper, Table 10
    "stopping_all": TableSpec(
        rows="all",
        bold="picks",
        columns=("score_acc", "score_succ", "dp", "dp2"),
        methods=PLAIN,
        caption="Stopping criteria on {dataset}, all iterations; of the picked rows the higher"
        " score is **bold**." + _RULES_SAY,
        long=True,
        show_rules=True,
    ),
    # the study that the paper's section 6 announces
    "neighbor_count": TableSpec(
        rows="stops",
        bold="family",
        columns=(*_ACCURACY, "me_ppl", "dp"),
        methods=BARE,
        caption="Number of neighbors in the loss on {dataset} (`NA2_`: two), each method at its"
        " own stop (|Δp_k| ≤ {epsilon}), on the same requests and the same neighbors to evaluate"
        " on. The highest value is **bold**.",
        show_requests=True,
    ),
    # the explanation that the paper's sections 3.1 and 6.1 give, put to the test (SPEC J.3)
    "stages": TableSpec(
        rows="all",
        bold="none",
        columns=(*_ACCURACY, "p_bar", "p_hat", "dp"),
        methods=STAGED,
        caption="Iterating both stages, or one alone, on {dataset}. `SPREAD_`: the targets of"
        " *k* = 1 are kept, their p-bar with them, and written again. `OPTIMIZATION_`: the targets"
        " are optimised further on the unedited weights, and written once. All are the same at *k*"
        " = 1. Green: the first iteration with |Δp_k| ≤ {epsilon}. Red: collapsed models (ME-PPL-50"
        " above 1000).",
        long=True,
        show_requests=True,
    ),
}


@dataclass(frozen=True)
class Selection:
    """Which rows a table has.

    ``models`` and ``methods`` choose and order them (default: whatever of the spec's methods the
    metrics hold); ``planned`` adds a row of "--" for each (model, method) that has no metrics yet.
    ``shown`` fixes the k of a (model, method), in a table of first iterations and stops.
    """

    dataset: str
    models: Sequence[str] | None = None
    methods: Sequence[str] | None = None
    planned: Sequence[tuple[str, str]] = ()
    shown: Mapping[tuple[str, str], Sequence[int]] = field(default_factory=dict)

    def orders(self, spec: TableSpec) -> list[str]:
        """The methods that may have rows, in order."""
        return list(self.methods or (name for name in METHODS if name in spec.methods))

    def asked(self, spec: TableSpec) -> list[tuple[str, str]]:
        """(model, method) of every row that is there without metrics too."""
        methods = self.orders(spec)
        return [
            (model, method)
            for model, method in self.planned
            if method in methods and (self.models is None or model in self.models)
        ]


@dataclass(frozen=True)
class Words:
    """What a table says besides numbers: printed names, and notes under it (plain, marked)."""

    dataset: str
    models: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    footnotes: Sequence[str] = ()

    def model(self, name: str) -> str:
        """A model's printed name; one that has none is called what it is called."""
        return self.models.get(name, name)


@dataclass(frozen=True)
class Table:
    """A table's content, unrounded.

    ``frame``: one row per printed row with model, model_name, method, k (text; "--": not run), met
    (whether the rule was met; missing where it is not asked), collapsed, colour ("", "green" or
    "red"), rules (the criteria that pick the row, joined by "+"), n_trials, n_requests, n_stopped,
    and the metric ``columns``. ``bold`` and ``sd`` have the same index and the metric columns.
    ``caption`` and ``footnotes`` are marked text, ``note`` is plain.
    """

    name: str
    frame: pd.DataFrame
    columns: tuple[str, ...]
    bold: pd.DataFrame
    sd: pd.DataFrame
    caption: str
    label: str
    note: str = ""
    footnotes: tuple[str, ...] = ()
    long: bool = False
    show_requests: bool = False
    show_rules: bool = False


@dataclass
class _Row:
    """A row on its way into a table; rows with the same ``rival`` compete for bold print."""

    source: pd.Series
    method: str
    k: str
    met: bool | None = None
    colour: str = ""
    rival: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    collapsed: bool = field(init=False)

    def __post_init__(self) -> None:
        self.collapsed = bool(self.source["me_ppl"] > COLLAPSED_ABOVE)


# What each criterion picks, and the means over trials there.
Picked = dict[str, tuple[Pick, pd.Series]]

# Under the switch specificity_gt: model_output (SPEC I19).
CEILING = (
    "Unedited, specificity accuracy: no damage, but a ceiling for the rows below. Edited models are"
    " put to the unedited model's own answers, and so was it here: an answer that is tokenised anew"
    " may have another number of tokens, or continue otherwise, and then counts as changed. An edit"
    " that changes nothing would get this value."
)
NOT_RUN = pd.Series(
    dict.fromkeys([*METRICS, *(f"{name}_sd" for name in METRICS), "n_requests"], math.nan)
    | {"n_trials": 0, "n_stopped": 0}
)


def build(
    name: str,
    metrics: pd.DataFrame,
    selection: Selection,
    averaging: Averaging,
    words: Words,
) -> Table:
    """Build the table ``name`` (a key of SPECS) for one dataset from the metrics of all runs.

    Where a method stops is said by ``averaging.rule`` (see `aggregation.picks`); a table of all
    iterations marks `Pick.row`.

    Raises ValueError when there is nothing for the table, naming what the metrics do hold.
    """
    if name not in SPECS:
        raise ValueError(f"table {name!r}: not one of {', '.join(SPECS)}")
    spec, dataset, models = SPECS[name], selection.dataset, selection.models
    order, asked = selection.orders(spec), selection.asked(spec)
    rows = metrics[(metrics["dataset"] == dataset) & metrics["method"].isin(order)]
    rows = rows if models is None else rows[rows["model"].isin(list(models))]
    if rows.empty and not asked:
        known = {c: sorted(metrics[c].unique().tolist()) for c in ("dataset", "model", "method")}
        raise ValueError(
            f"table {name}: no metrics for dataset {dataset!r}, models {models or 'any'}, methods"
            f" {order}; the metrics hold {known}"
        )
    every = None if rows.empty else by_iteration(rows, averaging)
    picked = _picked(rows, averaging)

    blocks: list[tuple[str, list[_Row]]] = []
    silent: list[str] = []  # methods of which no criterion picks an iteration
    for model in models or list(dict.fromkeys([*(m for m, _ in asked), *rows["model"]])):
        of_model = rows[rows["model"] == model] if every is None else every[every["model"] == model]
        present = set(of_model["method"]) | {m for asked_of, m in asked if asked_of == model}
        block = []
        if spec.unedited and present:
            zero = of_model[of_model["k"] == 0]
            if not zero.empty:  # the method with most trials speaks for the unedited model
                zero = zero.sort_values("n_trials", kind="stable")
            block.append(_Row(NOT_RUN if zero.empty else zero.iloc[-1], "Unedited", "0"))
        for method in (m for m in order if m in present):
            steps = of_model[(of_model["method"] == method) & (of_model["k"] > 0)].sort_values("k")
            if steps.empty:
                block.append(_Row(NOT_RUN, method, "--"))
                continue
            ks = selection.shown.get((model, method))
            found = _method_rows(spec, method, steps, picked[dataset, model, method], ks)
            block += found
            if not found:
                silent.append(f"{method} on {words.model(model)}")
        if block:
            blocks.append((model, block))
    notes = [*words.footnotes]
    if silent:
        notes.append(f"No criterion picks an iteration of {', '.join(silent)}.")
    if not blocks:
        blocks = [(models[0] if models else rows["model"].iloc[0], [_Row(NOT_RUN, "--", "")])]
    return _assemble(name, blocks, notes, words, averaging.rule)


def _picked(rows: pd.DataFrame, averaging: Averaging) -> dict[Cell, Picked]:
    """What each criterion picks in every cell, and the means over trials there."""
    chosen = picks(rows, averaging.rule)
    found: dict[Cell, Picked] = {cell: {} for cell in chosen}
    for criterion in stopping.CRITERIA:
        of_criterion = {cell: of_cell[criterion] for cell, of_cell in chosen.items()}
        for cell, means in by_cell(at_picks(rows, of_criterion, averaging)):
            found[cell][criterion] = (of_criterion[cell], means.iloc[0])
    return found


def _method_rows(
    spec: TableSpec,
    method: str,
    steps: pd.DataFrame,
    picked: Picked,
    shown: Sequence[int] | None,
) -> list[_Row]:
    """The rows of one method, from its means at k = 1, 2, ... and what the criteria pick."""
    if spec.rows == "all":
        return _every_row(spec, method, steps, picked)
    if spec.rows == "picks":
        return _picked_rows(method, picked)
    _, stop = picked["proposed"]
    last = _Row(stop, method, stop["k_text"], bool(stop["met"]))
    if spec.bold == "family":
        last.rival = (family(method),)
    if spec.rows == "stops":
        return [last]
    if shown:
        rows = [_Row(step, method, str(step["k"])) for _, step in steps.iterrows()]
        return [row for row in rows if int(row.k) in shown]
    first = _Row(steps.iloc[0], method, str(steps.iloc[0]["k"]), None)
    if stop["k_text"] == first.k:
        return [last]
    if first.collapsed and not last.met:
        return [first]  # collapsed at once and for good: later rows say nothing more
    first.rival = last.rival = (method,)
    return [first, last]


def _every_row(spec: TableSpec, method: str, steps: pd.DataFrame, picked: Picked) -> list[_Row]:
    """All iterations of one method, with the rows that the criteria mark (SPEC C.4)."""
    marked = {rule: picked[rule][0].row for rule in RULES}
    k_stop = marked["proposed"]
    rows = []
    for _, step in steps.iterrows():
        row = _Row(step, method, str(step["k"]))
        if spec.show_rules:
            row.rules = tuple(rule for rule in RULES if marked[rule] == step["k"])
            row.rival = (method,) if row.rules else ()
        else:
            row.colour = "red" if row.collapsed else "green" if step["k"] == k_stop else ""
            if spec.bold == "family" and step["k"] == k_stop:
                row.rival = (family(method),)
            if spec.bold == "first_and_stop" and k_stop and step["k"] in (1, k_stop):
                row.rival = (method,)
        rows.append(row)
    return rows


def _picked_rows(method: str, picked: Picked) -> list[_Row]:
    """The rows that the criteria pick, in the order of k; criteria of the same k share a row."""
    rows: dict[tuple, _Row] = {}
    for rule in RULES:
        pick, values = picked[rule]
        if pick.row is not None:
            place = (values["k"], *(k for _, k in sorted(pick.k.items())))
            row = rows.setdefault(place, _Row(values, method, pick.text, rival=(method,)))
            row.rules = (*row.rules, rule)
    return [row for _, row in sorted(rows.items(), key=lambda item: item[0])]


def _assemble(
    name: str,
    blocks: list[tuple[str, list[_Row]]],
    notes: Sequence[str],
    words: Words,
    rule: stopping.Rule,
) -> Table:
    """The table of all rows; ``notes`` are its footnotes after those that explain its rows."""
    spec = SPECS[name]
    columns = list(spec.columns)
    records, values, spread, bold = [], [], [], []
    for model, block in blocks:
        for row in block:
            records.append(
                {
                    "model": model,
                    "model_name": words.model(model),
                    "method": row.method,
                    "k": row.k,
                    "met": row.met,
                    "collapsed": row.collapsed,
                    "colour": row.colour,
                    "rules": "+".join(row.rules),
                    "n_trials": int(row.source["n_trials"]),
                    "n_requests": float(row.source["n_requests"]),
                    "n_stopped": int(row.source.get("n_stopped", 0)),
                }
            )
            values.append(row.source[columns].astype(float).tolist())
            spread.append(row.source[[f"{c}_sd" for c in columns]].astype(float).tolist())
        bold += _bold(block, columns)
    frame = pd.DataFrame(records).astype({"met": "boolean"})
    frame[columns] = np.array(values, dtype=float)
    footnotes = []
    if (frame["met"] == False).any():  # noqa: E712 (missing values stay out)
        footnotes.append(
            "† The criterion was not met within the budget: last iteration shown."
            if frame["n_trials"].max() == 1
            else "† The means over trials did not meet the criterion within the budget: last"
            " iterations shown."
            if rule.stop_row == "mean"
            else "† At least one trial did not meet the criterion within the budget: it takes part"
            " with its last iteration."
        )
    if rule.stop_row == "trial" and spec.rows == "all" and frame["n_trials"].max() > 1:
        footnotes.append(
            "Each trial is judged by its own |Δp_k|: a criterion marks the first *k* by which it"
            " has stopped all trials."
        )
    if frame["n_stopped"].any():
        footnotes.append("A trial that stopped before *k* takes part with its last iteration.")
    if frame["k"].str.contains("–").any():
        footnotes.append("A range of *k*: the trials stopped at different iterations.")
    if frame["n_trials"].max() > 1:
        run = frame.loc[frame["n_trials"] > 0, "n_trials"]
        low, high = run.min(), run.max()
        footnotes.append(f"Means over {high if low == high else f'{low} to {high}'} trials.")
    if (frame["k"] == "--").any():
        footnotes.append("--: not run.")
    if "spec_acc" in columns and frame.loc[frame["method"] == "Unedited", "spec_acc"].notna().any():
        footnotes.append(CEILING)
    return Table(
        name=name,
        frame=frame,
        columns=spec.columns,
        bold=pd.DataFrame(bold, columns=columns),
        sd=pd.DataFrame(spread, columns=columns),
        caption=spec.caption.format(dataset=words.dataset, epsilon=f"{rule.epsilon:g}"),
        label=f"tab:{name.replace('_', '-')}",
        note=words.note,
        footnotes=(*footnotes, *notes),
        long=spec.long,
        show_requests=spec.show_requests,
        show_rules=spec.show_rules,
    )


def _bold(block: list[_Row], columns: list[str]) -> list[list[bool]]:
    """Per row and column: is it the one highest of its rivals, on unrounded values?

    Only fractions compete; a group with a collapsed model, or of one row, has no winner (the
    paper's tables leave these plain; SPEC G.1).
    """
    marks = [[False] * len(columns) for _ in block]
    for rival in {row.rival for row in block if row.rival}:
        group = [i for i, row in enumerate(block) if row.rival == rival]
        if len(group) < 2 or any(block[i].collapsed for i in group):
            continue
        for c, column in enumerate(columns):
            if column not in FRACTIONS:
                continue
            ranked = sorted(group, key=lambda i: _sort_key(block[i].source[column]))
            best, second = (float(block[i].source[column]) for i in (ranked[-1], ranked[-2]))
            # The tolerance is for the last bits of a mean over trials, far below a printed digit.
            if best > second and not math.isclose(best, second, rel_tol=1e-9):
                marks[ranked[-1]][c] = True
    return marks


def _sort_key(value: float) -> float:
    """NaN sorts last: with a missing value among the rivals there is no winner."""
    return math.inf if math.isnan(value) else float(value)


def family(method: str) -> str:
    """The algorithm of a method: what it is set beside in a table."""
    return METHODS[method].algorithm if method in METHODS else method
