"""Tables as text: LaTeX with booktabs and siunitx, HTML, CSV, and the document that holds them all.

Markdown is made in `markdown`.

Captions, notes and headings are plain text with three marks: **bold**, *italic*, `code`; what they
need of mathematics is in one list, `_MATHEMATICS`.
"""

import html
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
import pandas as pd
from markupsafe import Markup

from modeledit.evaluation.metrics import METRICS, Metric
from modeledit.presentation import TEMPLATES
from modeledit.presentation.pages import html_environment
from modeledit.presentation.tables import RULES, Table, family

SCIENTIFIC_FROM = 1e5  # perplexities from here on are printed as powers of ten
COLOURS = {  # row colours, RGB; the letter of a rule and the text of a caption say it without them
    "green": "D5EFDF",
    "orange": "FBE3C8",
    "purple": "E3DBF2",
    "red": "F9DCD2",
}
LETTERS = {"proposed": "P", "monotonic": "M", "small_change": "S"}

_MATHEMATICS = {  # plain text: LaTeX, HTML
    "|Δp_k|": (r"$|\Delta p_k|$", "|Δ<i>p<sub>k</sub></i>|"),
    "Δp_2": (r"$\Delta_{p2}$", "Δ<sub><i>p</i>2</sub>"),
    "p(θ_k, h̄_k)": (r"$p(\theta_k,\bar h_k)$", "<i>p</i>(θ<sub>k</sub>, h̄<sub>k</sub>)"),
    "p(θ_k+1, ĥ_k)": (
        r"$p(\theta_{k+1},\hat h_k)$",
        "<i>p</i>(θ<sub>k+1</sub>, ĥ<sub>k</sub>)",
    ),
}
_MARKS = re.compile(r"\*\*(.+?)\*\*|\*(.+?)\*|`(.+?)`")


@dataclass(frozen=True)
class TableFiles:
    """The forms in which a table is written."""

    tex: Path
    csv: Path
    html: Path
    md: Path


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
    formats = [_column_format(table.frame[name], METRICS[name].unit) for name in table.columns]
    return (
        _environment(path.parent)
        .get_template(path.name)
        .render(_given(table, spread), formats=formats)
    )


def to_html(table: Table, number: str = "") -> str:
    """The table as an HTML fragment, `<figure class="table">`, with deviations as tool tips.

    Styles are the page's; cell classes are bold, and green, orange, purple or red.
    """
    environment = html_environment()
    environment.filters["marked"] = markup_html
    environment.filters["value"] = lambda pair: html_value(*pair)
    template = environment.get_template("table.html.j2")
    return template.render(_given(table, spread=True), number=number)


def frame_to_latex(
    frame: pd.DataFrame, caption: str, label: str, note: str = "", numbers: Sequence[str] = ()
) -> str:
    """A frame of plain text as a LaTeX fragment, one row per row; caption and note are marked.

    The columns ``numbers`` are aligned at the decimal marker, whatever mark or interval stands
    behind a number; text in them, such as "--", stands in their middle.
    """
    kinds, heads, columns = [], [], []
    for name in frame.columns:
        cells, head = [str(cell) for cell in frame[name]], escape(str(name))
        kind = _column(cells) if name in numbers else "l"
        aligned = kind.startswith("S")
        kinds.append(kind)
        heads.append(f"{{{head}}}" if aligned else head)
        columns.append([aligned_cell(cell) if aligned else escape(cell) for cell in cells])
    return (
        _environment(TEMPLATES)
        .get_template("frame.tex.j2")
        .render(
            caption=caption,
            label=label,
            note=note,
            columns=" ".join(kinds),
            heads=heads,
            rows=list(zip(*columns, strict=True)),
        )
    )


_NUMBER = re.compile(  # sign, digits before and behind the marker; marks, an interval
    r"([-+]?)(\d+)(?:\.(\d+))?([*†‡%]*(?: ?\([^()]*\))?)"
)
_POWER = re.compile(r"([-+]?\d+(?:\.\d+)?)e([-+]?\d+)")


def _column(cells: Sequence[str]) -> str:
    """A column of numbers: S with room for the widest parts of these, r where there is none."""
    found = [number for cell in cells if (number := _NUMBER.fullmatch(cell))]
    if not found:
        return "r"
    sign = "-" if any(number[1] for number in found) else ""
    whole, part = (max(len(number[i] or "") for number in found) for i in (2, 3))
    behind = max((number[4] for number in found), key=len)
    room = f", table-space-text-post={{{escape(behind)}}}" if behind else ""
    return f"S[table-format={sign}{whole}.{part}{room}]"


def aligned_cell(text: str) -> str:
    """Text for an S column: a number, and in braces, which siunitx leaves alone, what is none."""
    if number := _NUMBER.fullmatch(text):
        behind = number[4]
        return text[: len(text) - len(behind)] + (f" {{{escape(behind)}}}" if behind else "")
    if power := _POWER.fullmatch(text):
        return rf"{{\num{{{power[1]}e{int(power[2])}}}}}"
    return f"{{{escape(text)}}}" if text else ""


def frame_to_html(
    frame: pd.DataFrame, caption: str, label: str, note: str = "", numbers: Sequence[str] = ()
) -> str:
    """A frame of plain text as an HTML fragment of the same form as `to_html`."""
    kinds = ["number" if name in numbers else "" for name in frame.columns]
    lines = [_html_row(frame.columns, "th", [""] * len(kinds)), "</thead>", "<tbody>"]
    lines += [_html_row(row, "td", kinds) for row in frame.itertuples(index=False)]
    table = "\n".join(["<table>", "<thead>", *lines, "</tbody>", "</table>"])
    return (
        f'<figure class="table" id="{html.escape(label.replace(":", "-"))}">\n'
        f"<figcaption>{markup_html(caption)}</figcaption>\n"
        f'<div class="scroll" tabindex="0">\n{table}\n</div>\n'
        f'<p class="note">{markup_html(note)}</p>\n'
        "</figure>\n"
    )


def _html_row(cells: Iterable[object], tag: str, kinds: Sequence[str]) -> str:
    """A row of cells, each of a class or "" for none."""
    inner = "".join(
        (f'<{tag} class="{kind}">' if kind else f"<{tag}>") + html.escape(str(cell)) + f"</{tag}>"
        for cell, kind in zip(cells, kinds, strict=True)
    )
    return f"<tr>{inner}</tr>"


def document(fragments: Sequence[str], title: str = "") -> str:
    """A standalone LaTeX document which contains the given fragments (`to_latex`).

    Those that are set across the page come last, one below the other like all.
    """
    template = _environment(TEMPLATES).get_template("document.tex.j2")
    across = [r"\begin{landscape}" in fragment for fragment in fragments]
    upright, turned = (
        [fragment for fragment, turns in zip(fragments, across, strict=True) if turns == which]
        for which in (False, True)
    )
    return template.render(upright=upright, turned=turned, title=title)


def escape(text: str) -> str:
    """Plain text for LaTeX: its special characters and a few common symbols.

    Ends of lines, which LaTeX may take for ends of paragraphs, become spaces, other control
    characters and halves of characters the replacement character.
    """
    out: list[str] = []
    before = ""
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            character = " " if character.isspace() else "\ufffd"
        if character == before and character in "-'":
            out.append("{}")  # two would be a dash or a quotation mark
        out.append(_SPECIAL.get(character, character))
        before = character
    return "".join(out)


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
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after the end of a row these would belong to it
    "]": "{]}",
    "*": "{*}",
    "−": r"\ensuremath{-}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "∞": r"\ensuremath{\infty}",
    "≤": r"\ensuremath{\le}",
    "≥": r"\ensuremath{\ge}",
    "→": r"\ensuremath{\to}",
    "λ": r"\ensuremath{\lambda}",
    "Δ": r"\ensuremath{\Delta}",
    "†": r"\ensuremath{^{\dagger}}",
    "–": "--",
}


def markup_tex(text: str) -> str:
    """Marked text for LaTeX."""
    return _markup(text, escape, (r"\textbf{%s}", r"\emph{%s}", r"\texttt{%s}"), 0)


def markup_html(text: str) -> Markup:
    """Marked text for HTML."""
    tags = ("<b>%s</b>", "<i>%s</i>", "<code>%s</code>")
    return Markup(_markup(text, html.escape, tags, 1))


def marked(text: str, escaped: Callable[[str], str], tags: Sequence[str]) -> str:
    """Marked text for a form that has no mathematics; `tags` are of bold, italic and code."""
    return _markup(text, escaped, tags, None)


def _markup(
    text: str, escaped: Callable[[str], str], tags: Sequence[str], column: int | None
) -> str:
    pieces = re.split(f"({'|'.join(map(re.escape, _MATHEMATICS))})", text)
    for i, piece in enumerate(pieces):
        if piece in _MATHEMATICS:
            pieces[i] = escaped(piece) if column is None else _MATHEMATICS[piece][column]
            continue
        out, end = [], 0
        for match in _MARKS.finditer(piece):
            out.append(escaped(piece[end : match.start()]))
            which = next(g for g in (1, 2, 3) if match[g] is not None)
            out.append(tags[which - 1] % escaped(match[which]))
            end = match.end()
        pieces[i] = "".join([*out, escaped(piece[end:])])
    return "".join(pieces)


@dataclass(frozen=True)
class _Group:
    """Columns under one heading, by number from 1."""

    metric: Metric  # the first of them
    columns: list[str]
    first: int

    @property
    def name(self) -> str:
        return self.metric.group

    @property
    def last(self) -> int:
        return self.first + len(self.columns) - 1


@dataclass(frozen=True)
class _Cell:
    """A number with its unit, its deviation where it is printed, and whether it is bold."""

    value: tuple[float, str]
    sd: tuple[float, str] | None
    bold: bool


@dataclass(frozen=True)
class _RuleMark:
    """The letter and colour of a criterion that picks the row."""

    letter: str
    colour: str


@dataclass(frozen=True)
class Line:
    """A printed row; templates leave out the model and the method where they do not start."""

    names: list[str]  # of the model, and how many requests
    height: int  # rows of the model
    starts_model: bool
    starts_method: bool
    method: str
    k: str
    unmet: bool
    cells: list[_Cell]
    spread: bool  # whether deviations are printed
    colour: str
    rules: list[_RuleMark]
    separator: Literal["", "model", "block"]  # what stands above it
    keep: bool  # with the next row, on one page


def _given(table: Table, spread: bool) -> dict[str, Any]:
    """What a template is given, whatever it writes."""
    lead = 4 if table.show_rules else 3  # columns before the metrics
    groups: list[_Group] = []
    for number, name in enumerate(table.columns, start=lead + 1):
        metric = METRICS[name]
        if groups and metric.group and groups[-1].name == metric.group:
            groups[-1].columns.append(name)
        else:
            groups.append(_Group(metric, [name], number))
    return {
        "table": table,
        "colours": COLOURS,
        "groups": groups,
        "metrics": [METRICS[name] for name in table.columns],
        "rows": _layout(table, spread),
        "width": lead + len(table.columns),
    }


def lines_of(table: Table) -> list[Line]:
    """The printed rows of a table, without deviations."""
    return _layout(table, spread=False)


def _starts(names: pd.Series) -> pd.Series:
    """Whether each is another than the one before."""
    return names != names.shift()


def _layout(table: Table, spread: bool) -> list[Line]:
    """Printed rows: names where they change, cells, and what separates a row from the one above."""
    frame = table.frame
    model = _starts(frame["model"])
    method = model | _starts(frame["method"])
    # A short table sets a method beside its neighbor-assisted kin, a long one each by itself.
    block = model | _starts(frame["method"] if table.long else frame["method"].map(family))
    starts_model, starts_method, starts_block = model.tolist(), method.tolist(), block.tolist()
    spread = spread and bool((frame["n_trials"] > 1).any())
    heights = frame.groupby("model", sort=False)["model"].transform("size").tolist()
    values = frame[list(table.columns)].astype(float).to_dict("list")
    deviations = table.sd.astype(float).to_dict("list")
    bold = table.bold.to_dict("list")
    lines = []
    for i, row in enumerate(frame.to_dict("records")):
        names = [row["model_name"]]
        if table.show_requests and not math.isnan(row["n_requests"]):
            names.append(f"#{row['n_requests']:.0f}")
        units = {name: METRICS[name].unit for name in table.columns}
        cells = [
            _Cell(
                value=(values[name][i], unit),
                sd=(deviations[name][i], unit) if spread else None,
                bold=bool(bold[name][i]),
            )
            for name, unit in units.items()
        ]
        separator: Literal["", "model", "block"] = ""
        if i > 0 and starts_block[i]:
            separator = "model" if starts_model[i] else "block"
        lines.append(
            Line(
                names=names,
                height=heights[i],
                starts_model=starts_model[i],
                starts_method=starts_method[i],
                method=row["method"],
                k=row["k"],
                unmet=bool(pd.notna(row["met"]) and not row["met"]),
                cells=cells,
                spread=spread,
                colour=row["colour"],
                rules=[
                    _RuleMark(LETTERS[rule], RULES[rule])
                    for rule in row["rules"].split("+")
                    if rule
                ],
                separator=separator,
                keep=i + 1 < len(frame) and not starts_method[i + 1],
            )
        )
    return lines


def _model_cell(row: Line) -> str:
    """A model's name beside its rows; "GPT-2 XL (1.5B)" takes a second line where there is room."""
    height = row.height * (2 if row.spread else 1)  # deviations take a line of their own
    name, _, size = row.names[0].partition(" (")
    lines = [name, *([f"({size}"] if size else []), *row.names[1:]]
    lines = lines if len(lines) <= height else [" ".join(lines)]
    text = r"\\".join(escape(line) for line in lines)
    return rf"\multirow{{{height}}}{{*}}{{\shortstack[l]{{{text}}}}}"


def latex_cell(value: float, unit: str) -> str:
    """A number for an S column, or, in braces, text which siunitx leaves alone."""
    text = _text(value, unit)
    return text if text[0].isdigit() and "num" not in text else f"{{{text}}}"


def _text(value: float, unit: str) -> str:
    """A number as LaTeX."""
    plain = html_value(value, unit)
    if plain == "∞":
        return r"$\infty$"
    if "×" not in plain:
        return plain
    mantissa, exponent = f"{value:.2e}".split("e")
    return rf"\num{{{mantissa}e{int(exponent)}}}"


def html_value(value: float, unit: str) -> Markup | str:
    """A number as HTML: percent or two decimals, powers of ten from SCIENTIFIC_FROM on."""
    if math.isnan(value):
        return "--"
    if math.isinf(value):
        return "∞"
    if unit == "fraction":
        return f"{100 * value:.2f}"
    if round(value, 2) < SCIENTIFIC_FROM:
        return f"{value:.2f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return Markup(f"{mantissa}×10<sup>{int(exponent)}</sup>")


def _column_format(values: pd.Series, unit: str) -> str:
    """siunitx table-format: room for the widest number that is set as a number."""
    if unit == "fraction":
        return "3.2"
    shown = [round(v, 2) for v in values if round(v, 2) < SCIENTIFIC_FROM]
    return f"{max((len(str(int(v))) for v in shown), default=1)}.2"


def _environment(folder: Path = TEMPLATES) -> jinja2.Environment:
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
    environment.filters["marked"] = markup_tex
    environment.filters["model_cell"] = _model_cell
    environment.filters["cell"] = lambda pair: latex_cell(*pair)
    environment.filters["number"] = lambda pair: _text(*pair)
    return environment
