"""Tables as Markdown, as GitHub and pandoc read it: for issues, notebooks and appendices.

What colours say in LaTeX and HTML, the letters of the column "Rule" say here.
"""

import re
from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from modeledit.evaluation.metrics import METRICS
from modeledit.presentation.tables import Table
from modeledit.presentation.typesetting import Line, html_value, lines_of, marked

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$#])")
_CODE = re.compile(r"(?<!\\)`.+?(?<!\\)`")
_ESCAPED = re.compile(r"\\(.)")
_TAGS = ("**%s**", "*%s*", "`%s`")


def to_markdown(table: Table) -> str:
    """The table with its caption above and its notes below; what is bold is bold."""
    columns = ["Model", "Method", "k", *(["Rule"] if table.show_rules else [])]
    headings = columns + [_heading(name) for name in table.columns]
    rows = [_row(line, table.show_rules) for line in lines_of(table)]
    right = [False] * len(columns) + [True] * len(table.columns)
    note = " ".join([*table.footnotes, table.note]).strip()
    return _joined(table.caption, headings, rows, right, note)


def frame_to_markdown(
    frame: pd.DataFrame, caption: str, label: str, note: str = "", numbers: Sequence[str] = ()
) -> str:
    """A frame of plain text, one row per row; caption and note are marked. A Markdown table has no
    name, so that `label` is not printed."""
    names = [str(name) for name in frame.columns]
    rows = [[escape(str(cell)) for cell in row] for row in frame.itertuples(index=False)]
    right = [name in numbers for name in names]
    return _joined(caption, [escape(name) for name in names], rows, right, note)


def escape(text: str) -> str:
    """Plain text, on one line, of which Markdown makes nothing else."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _marked(text: str) -> str:
    """Marked text (see `typesetting`)."""
    edges = re.match(r"(\s*).*?(\s*)$", text, re.DOTALL)
    before, after = edges.groups() if edges else ("", "")
    found = marked(text.strip(), _inline, _TAGS)
    # Within code a backslash is one.
    found = _CODE.sub(lambda code: _ESCAPED.sub(r"\1", code[0]), found)
    return f"{before}{found}{after}"


def _inline(text: str) -> str:
    """A piece of a text, whose blanks at the edges stay."""
    return _SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", text))


def _joined(
    caption: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[bool],
    note: str,
) -> str:
    """Caption, table and note; the columns that are `right` are set flush right."""
    align = ["right" if one else "left" for one in right]
    body = tabulate(rows, headings, tablefmt="pipe", colalign=align, disable_numparse=True)
    parts = [_marked(caption), body, _marked(note)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _heading(name: str) -> str:
    """The heading of a metric's column: both of its lines in the other forms."""
    metric = METRICS[name]
    unit = " (%)" if metric.unit == "fraction" else ""
    arrow = "↑" if metric.better == "higher" else "↓"
    return escape(f"{metric.group} {metric.heading}{unit} {arrow}")


def _row(line: Line, with_rules: bool) -> list[str]:
    """A printed row; the model and the method stand where they start."""
    model = escape(" ".join(line.names)) if line.starts_model else ""
    method = escape(line.method) if line.starts_method else ""
    lead = [model, method, f"{line.k}{'†' if line.unmet else ''}"]
    if with_rules:
        lead.append("".join(rule.letter for rule in line.rules))
    cells = [(str(html_value(*cell.value)), cell.bold) for cell in line.cells]
    return lead + [f"**{text}**" if bold else text for text, bold in cells]
