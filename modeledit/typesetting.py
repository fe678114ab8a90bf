"""Tables as text: LaTeX with booktabs and siunitx, CSV, and the document that holds them all."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from modeledit.metrics import METRICS
from modeledit.tables import COLOURS, TEMPLATES, Table, environment, escape, family

SCIENTIFIC_FROM = 1e5  # perplexities from here on are printed as powers of ten


def to_csv(table: Table) -> str:
    """The table as CSV text: flags, then unrounded values, `{column}_sd` and `{column}_bold`."""
    parts = [table.frame, table.sd.add_suffix("_sd"), table.bold.add_suffix("_bold")]
    return pd.concat(parts, axis=1).to_csv(index=False, lineterminator="\n")


def to_latex(table: Table, template: str | Path | None = None, spread: bool = False) -> str:
    """Typeset one table as a fragment to be \\input (see `document` for the packages it needs).

    ``template`` is a jinja2 file of the user's own in place of `table.tex.j2`; ``spread`` prints
    the standard deviation over trials under each value, where there are several trials.
    """
    path = Path(template) if template else TEMPLATES / "table.tex.j2"
    groups: list[dict] = []
    for name in table.columns:
        metric = METRICS[name]
        if groups and metric.group and groups[-1]["name"] == metric.group:
            groups[-1]["columns"].append(name)
        else:
            groups.append({"name": metric.group, "columns": [name], "metric": metric})
    start = 4  # after the columns model, method and k
    for group in groups:
        group["first"], group["last"] = start, start + len(group["columns"]) - 1
        start = group["last"] + 1
    return (
        environment(path.parent)
        .get_template(path.name)
        .render(
            table=table,
            colours=COLOURS,
            groups=groups,
            metrics=[METRICS[name] for name in table.columns],
            formats=[
                _column_format(table.frame[name], METRICS[name].unit) for name in table.columns
            ],
            rows=_layout(table, spread),
            width=3 + len(table.columns),
        )
    )


def document(fragments: Sequence[str], title: str = "") -> str:
    """A standalone LaTeX document which contains the given fragments (`to_latex`)."""
    template = environment(TEMPLATES).get_template("document.tex.j2")
    return template.render(fragments=list(fragments), title=title)


def _layout(table: Table, spread: bool) -> list[dict]:
    """Printed rows: cells as LaTeX, and what separates a row from the one above it."""
    frame = table.frame
    starts_model = frame["model"] != frame["model"].shift()
    starts_method = starts_model | (frame["method"] != frame["method"].shift())
    # A short table sets a method beside its neighbor-assisted kin, a long one each by itself.
    block = frame["method"] if table.long else frame["method"].map(family)
    starts_block = starts_model | (block != block.shift())
    spread = spread and bool((frame["n_trials"] > 1).any())
    # With a second line of deviations a model's block is twice as high.
    height = frame.groupby("model", sort=False)["model"].transform("size") * (2 if spread else 1)
    rows = []
    for i, row in frame.iterrows():
        lines = [row["model_name"]]
        if table.show_requests:
            lines.append(f"#{row['n_requests']:.0f}")
        model = ""
        if table.long:
            model = escape(" ".join(lines)) if starts_method[i] else ""
        elif starts_model[i]:
            model = _model_cell(lines, int(height[i]))
        separator = "model" if starts_model[i] else "block" if starts_block[i] else ""
        cells = []
        for name in table.columns:
            text = _cell(float(row[name]), METRICS[name].unit)
            cells.append(rf"\bfseries {text}" if table.bold.loc[i, name] else text)
        deviations = None
        if spread:
            pairs = [(float(table.sd.loc[i, c]), METRICS[c].unit) for c in table.columns]
            deviations = [
                rf"{{\tiny $\pm$\,{_text(*pair)}}}" if math.isfinite(pair[0]) else ""
                for pair in pairs
            ]
        rows.append(
            {
                "model": model,
                "method": escape(row["method"]) if starts_method[i] else "",
                "k": row["k"] + ("" if row["met"] is not False else r"$^{\dagger}$"),
                "cells": cells,
                "deviations": deviations,
                "colour": f"table{row['colour']}" if row["colour"] else "",
                "separator": separator if i > 0 else "",
                "keep": i + 1 < len(frame) and not starts_method[i + 1],
            }
        )
    return rows


def _model_cell(lines: list[str], height: int) -> str:
    """A model's name beside its rows; "GPT-2 XL (1.5B)" takes a second line where there is room."""
    name, _, size = lines[0].partition(" (")
    lines = [name, *([f"({size}"] if size else []), *lines[1:]]
    lines = lines if len(lines) <= height else [" ".join(lines)]
    text = r"\\".join(escape(line) for line in lines)
    return rf"\multirow{{{height}}}{{*}}{{\shortstack[l]{{{text}}}}}"


def _cell(value: float, unit: str) -> str:
    """A number for an S column, or, in braces, text which siunitx leaves alone."""
    text = _text(value, unit)
    return text if text[0].isdigit() and "e" not in text else f"{{{text}}}"


def _text(value: float, unit: str) -> str:
    if math.isnan(value):
        return "--"
    if math.isinf(value):
        return r"$\infty$"
    if unit == "fraction":
        return f"{100 * value:.2f}"
    if round(value, 2) < SCIENTIFIC_FROM:
        return f"{value:.2f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return rf"\num{{{mantissa}e{int(exponent)}}}"


def _column_format(values: pd.Series, unit: str) -> str:
    """siunitx table-format: room for the widest number that is set as a number."""
    if unit == "fraction":
        return "3.2"
    shown = [round(v, 2) for v in values if round(v, 2) < SCIENTIFIC_FROM]
    return f"{max((len(str(int(v))) for v in shown), default=1)}.2"
