"""The paper's tables from metrics: what each one shows is a spec, how it looks is a template.

A `TableSpec` says which rows (k = 1 and the stop, the stops only, or every k), which metrics, and
which rows are compared for bold print. `build` turns it and a metrics frame (`metrics.csv` of all
runs) into a `Table`: unrounded values with flags. `to_csv` writes those; `to_latex` rounds and
typesets them with booktabs and siunitx. A further table is a further spec.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jinja2
import numpy as np
import pandas as pd

from modeledit import stopping
from modeledit.aggregation import TrialAgg, at_stop, by_iteration
from modeledit.methods import METHODS
from modeledit.metrics import COLLAPSED_ABOVE, FRACTIONS, Zeros

TEMPLATES = Path(__file__).resolve().parents[1] / "workflow" / "templates"
PLAIN = tuple(m.name for m in METHODS.values() if not m.neighbor_assisted)
BARE = tuple(m.name for m in METHODS.values() if not m.neighbor_prefixed)  # plain, NA_, NA2_, ...
PAPER = tuple(m.name for m in METHODS.values() if m.in_paper)
PAIRED = tuple(name for name in PAPER if name in BARE and name != "ROME")
COLOURS = {"green": "D5EFDF", "red": "F9DCD2"}  # row colours, RGB

_RESULT = (*FRACTIONS, "me_ppl", "dp")
_DETAIL = (*FRACTIONS, "me_ppl", "p_bar", "p_hat", "dp")


@dataclass(frozen=True)
class TableSpec:
    """What a table shows. ``caption`` is LaTeX, with << dataset >> and << epsilon >> filled in."""

    rows: Literal["first_and_stop", "stops", "all"]
    bold: Literal["first_and_stop", "family"]  # which rows compete for bold print
    columns: tuple[str, ...]
    methods: tuple[str, ...]
    caption: str
    long: bool = False  # may break over pages
    show_requests: bool = False  # print the number of requests under the model's name


SPECS: dict[str, TableSpec] = {
    # paper, Table 1
    "iterative": TableSpec(
        rows="first_and_stop",
        bold="first_and_stop",
        columns=_RESULT,
        methods=PLAIN,
        caption=r"Iterative model editing on << dataset >>: each method after its first iteration"
        r" and at the iteration $k$ that meets the stopping criterion $|\Delta p_k| \le"
        r" << epsilon >>$. The higher of the two values is \textbf{bold}; methods whose model"
        r" collapsed are left plain.",
    ),
    # paper, Table 6 (and, on another dataset, Table 7)
    "all_iterations": TableSpec(
        rows="all",
        bold="first_and_stop",
        columns=_DETAIL,
        methods=PLAIN,
        caption=r"Iterative model editing on << dataset >>, all iterations. Green: the first"
        r" iteration with $|\Delta p_k| \le << epsilon >>$, compared with the method's first"
        r" iteration, the higher value in \textbf{bold}. Red: collapsed models"
        r" (ME-PPL-50 above 1000).",
        long=True,
    ),
    # paper, Table 2
    "neighbor": TableSpec(
        rows="stops",
        bold="family",
        columns=_RESULT,
        methods=PAIRED,
        caption=r"Neighbor-assisted model editing (\texttt{NA\_}) on << dataset >>: each method"
        r" with and without a neighbor in its loss, each at its own stop"
        r" ($|\Delta p_k| \le << epsilon >>$). The higher value of a pair is \textbf{bold}. \#:"
        r" number of requests; only requests whose neighbors the unedited model completes"
        r" correctly take part, so the rows compare with each other only.",
        show_requests=True,
    ),
    # the study that the paper's section 6 announces
    "neighbor_count": TableSpec(
        rows="stops",
        bold="family",
        columns=("eff_acc", "gen_acc", "spec_acc", "score_acc", "me_ppl", "dp"),
        methods=BARE,
        caption=r"Number of neighbors in the loss on << dataset >> (\texttt{NA2\_}: two), each"
        r" method at its own stop ($|\Delta p_k| \le << epsilon >>$), on the same requests and the"
        r" same neighbors to evaluate on. The highest value is \textbf{bold}.",
        show_requests=True,
    ),
}


@dataclass(frozen=True)
class Table:
    """A table's content, unrounded.

    ``frame``: one row per printed row with model, model_name, method, k (text), met (whether the
    rule was met; missing where it is not asked), collapsed, colour ("", "green" or "red"),
    n_trials, n_requests, n_stopped, and the metric ``columns``. ``bold`` and ``sd`` have the same
    index and the metric columns. ``footnotes`` are LaTeX, ``note`` is plain text.
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


@dataclass
class _Row:
    """A row on its way into a table; rows with the same ``rival`` compete for bold print."""

    source: pd.Series
    method: str
    k: str
    met: bool | None = None
    colour: str = ""
    rival: tuple[str, ...] = ()
    collapsed: bool = field(init=False)

    def __post_init__(self) -> None:
        self.collapsed = bool(self.source["me_ppl"] > COLLAPSED_ABOVE)


def build(
    name: str,
    metrics: pd.DataFrame,
    *,
    dataset: str,
    dataset_name: str | None = None,
    names: Mapping[str, str] | None = None,
    models: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    note: str = "",
    epsilon: float = stopping.EPSILON,
    by: Literal["trial", "mean"] = "trial",
    trial_agg: TrialAgg = "mean_of_scores",
    round_per_trial: int | None = None,
    zeros: Zeros = "keep",
    label: str | None = None,
) -> Table:
    """Build the table ``name`` (a key of SPECS) for one dataset from the metrics of all runs.

    ``models`` and ``methods`` choose and order the rows (default: whatever of the spec's methods
    the metrics hold); ``names`` maps models to printed names. ``by`` says whose stop counts
    (see `metrics.at_stop`); a table of all iterations always marks the stop of the printed means.
    ``note`` is printed under the table.

    Raises ValueError when the metrics hold nothing for the table, naming what they do hold.
    """
    if name not in SPECS:
        raise ValueError(f"table {name!r}: not one of {', '.join(SPECS)}")
    spec = SPECS[name]
    order = [m for m in (methods or METHODS) if methods or m in spec.methods]
    rows = metrics[(metrics["dataset"] == dataset) & metrics["method"].isin(order)]
    rows = rows if models is None else rows[rows["model"].isin(models)]
    if rows.empty:
        known = {c: sorted(metrics[c].unique().tolist()) for c in ("dataset", "model", "method")}
        raise ValueError(
            f"table {name}: no metrics for dataset {dataset!r}, models {models or 'any'}, methods"
            f" {order}; the metrics hold {known}"
        )
    options = {"trial_agg": trial_agg, "round_per_trial": round_per_trial, "zeros": zeros}
    every = by_iteration(rows, **options)
    stops = at_stop(rows, epsilon, by, **options)

    blocks: list[tuple[str, list[_Row]]] = []
    for model in models or list(dict.fromkeys(rows["model"])):
        of_model = every[every["model"] == model]
        present = [m for m in order if m in set(of_model["method"])]
        if not present:
            continue
        unedited = of_model[of_model["k"] == 0].sort_values("n_trials", kind="stable").iloc[-1]
        block = [_Row(unedited, "Unedited", "0")]
        for method in present:
            steps = of_model[(of_model["method"] == method) & (of_model["k"] > 0)]
            if steps.empty:
                continue
            stop = stops[(stops["model"] == model) & (stops["method"] == method)].iloc[0]
            block += _method_rows(spec, method, steps.sort_values("k"), stop, epsilon)
        blocks.append((model, block))
    return _assemble(name, spec, blocks, names or {}, note, label, dataset_name or dataset, epsilon)


def _method_rows(
    spec: TableSpec, method: str, steps: pd.DataFrame, stop: pd.Series, epsilon: float
) -> list[_Row]:
    """The rows of one method, from its means at k = 1, 2, ... and its means at the stop."""
    if spec.rows == "all":
        k_stop = stopping.proposed(steps["dp"].tolist(), epsilon)
        rows = []
        for _, step in steps.iterrows():
            row = _Row(step, method, str(step["k"]))
            row.colour = "red" if row.collapsed else "green" if step["k"] == k_stop else ""
            if k_stop and step["k"] in (1, k_stop) and spec.bold == "first_and_stop":
                row.rival = (method,)
            if step["k"] == k_stop and spec.bold == "family":
                row.rival = (family(method),)
            rows.append(row)
        return rows
    last = _Row(stop, method, stop["k_text"], bool(stop["met"]))
    if spec.bold == "family":
        last.rival = (family(method),)
    if spec.rows == "stops":
        return [last]
    first = _Row(steps.iloc[0], method, str(steps.iloc[0]["k"]), None)
    if stop["k_text"] == first.k:
        return [last]
    if first.collapsed and not last.met:
        return [first]  # collapsed at once and for good: later rows say nothing more
    first.rival = last.rival = (method,)
    return [first, last]


def _assemble(
    name: str,
    spec: TableSpec,
    blocks: list[tuple[str, list[_Row]]],
    names: Mapping[str, str],
    note: str,
    label: str | None,
    dataset: str,
    epsilon: float,
) -> Table:
    columns = list(spec.columns)
    records, values, spread, bold = [], [], [], []
    for model, block in blocks:
        for row in block:
            records.append(
                {
                    "model": model,
                    "model_name": names.get(model, model),
                    "method": row.method,
                    "k": row.k,
                    "met": row.met,
                    "collapsed": row.collapsed,
                    "colour": row.colour,
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
            r"$^{\dagger}$ The criterion was not met within the budget: last iteration shown."
            if frame["n_trials"].max() == 1
            else r"$^{\dagger}$ At least one trial did not meet the criterion within the budget: it"
            " takes part with its last iteration."
        )
    if frame["n_stopped"].any():
        footnotes.append("A trial that stopped before $k$ takes part with its last iteration.")
    if frame["k"].str.contains("--").any():
        footnotes.append("A range of $k$: the trials stopped at different iterations.")
    if frame["n_trials"].max() > 1:
        low, high = frame["n_trials"].min(), frame["n_trials"].max()
        footnotes.append(f"Means over {high if low == high else f'{low} to {high}'} trials.")
    caption = environment().from_string(spec.caption)
    return Table(
        name=name,
        frame=frame,
        columns=spec.columns,
        bold=pd.DataFrame(bold, columns=columns),
        sd=pd.DataFrame(spread, columns=columns),
        caption=caption.render(dataset=escape(dataset), epsilon=f"{epsilon:g}"),
        label=label or f"tab:{name.replace('_', '-')}",
        note=note,
        footnotes=tuple(footnotes),
        long=spec.long,
        show_requests=spec.show_requests,
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
    return METHODS[method].algorithm if method in METHODS else method


def escape(text: str) -> str:
    """Plain text for LaTeX: its special characters and a few common symbols."""
    return "".join(_SPECIAL.get(character, character) for character in text)


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "≤": r"\ensuremath{\le}",
    "≥": r"\ensuremath{\ge}",
    "→": r"\ensuremath{\to}",
    "λ": r"\ensuremath{\lambda}",
}


def environment(folder: Path = TEMPLATES) -> jinja2.Environment:
    """Jinja with delimiters that LaTeX does not use; an unknown name in a template is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, TEMPLATES]),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    environment.filters["tex"] = escape
    return environment
