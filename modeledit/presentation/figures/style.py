"""What all figures share: the style sheet, colours, markers and lines by name, text that fits,
headings, and saving as PNG and PDF with a record of the numbers."""

import math
import textwrap
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import text_to_path

from modeledit.io.files import finished, write_json
from modeledit.presentation import TEMPLATES
from modeledit.study.methods import METHODS, MOST_DIVISOR, Method

STYLE = TEMPLATES / "paper.mplstyle"

GREY = "#555555"
# Okabe-Ito. Colour always goes with a marker, line, hatch or symbol, so none is needed to read on.
# Yellow, and what is not of these, is for what the paper (arXiv:2503.11895) does not have.
_FAMILIES = {
    "ROME": "#E69F00",
    "NA_ROME": "#F0E442",
    "NAP_ROME": "#F0E442",
    "MEMIT": "#0072B2",
    "NA_MEMIT": "#56B4E9",
    "NAP_MEMIT": "#000000",
    "PMET": "#D55E00",
    "NA_PMET": "#CC79A7",
    "NAP_PMET": "#009E73",
    "AlphaEdit": "#009E73",
    "NA_AlphaEdit": "#44AA99",
    "NAP_AlphaEdit": "#999933",
    "MEMIT_seq": "#000000",
    "NA_MEMIT_seq": "#7F7F7F",
    "NAP_MEMIT_seq": "#AA4499",
    "FRESH_AlphaEdit": "#882255",
    "GROWING_AlphaEdit": "#332288",
    **{f"L2_OVER_{n}_AlphaEdit": "#CC79A7" for n in range(2, MOST_DIVISOR + 1)},
}
_DIVISORS = (f"${n}$" for n in range(2, MOST_DIVISOR + 1))
_SHAPES = dict(zip(_FAMILIES, [*"ophsDP^vX*dH12483", *_DIVISORS], strict=True))


def _family(method: Method) -> str:
    """NA2_MEMIT belongs to NA_MEMIT, SPREAD_MEMIT to MEMIT."""
    if not method.neighbor_assisted:
        return method.algorithm
    return f"{'NAP' if method.neighbor_prefixed else 'NA'}_{method.algorithm}"


COLOURS = {name: _FAMILIES[_family(method)] for name, method in METHODS.items()} | {
    "Unedited": "#7F7F7F",
    "p_bar": "#009E73",
    "p_hat": "#0072B2",
    "All": "#0072B2",
    "UnderEdit": "#D55E00",
    "eff_acc": "#0072B2",
    "gen_acc": "#E69F00",
    "spec_acc": "#009E73",
    "score_acc": "#000000",
    "both": "#000000",
    "spread": "#0072B2",
    "optimization": "#D55E00",
    "right": "#0072B2",
    "wrong": "#D55E00",
}
_ONE_STAGE = {"spread": "<", "optimization": ">"}


def _marker(method: Method) -> str:
    """A shape for none and for one neighbor, the number itself for more; one for each stage."""
    if method.n_neighbors > 1:
        return f"${method.n_neighbors}$"
    return _ONE_STAGE.get(method.repeats) or _SHAPES[method.name]


def _line(method: Method) -> str:
    if method.repeats != "both":
        return "-."
    return (":" if method.neighbor_prefixed else "--") if method.neighbor_assisted else "-"


MARKERS = {name: _marker(method) for name, method in METHODS.items()} | {
    "Unedited": "*",
    "All": "o",
    "UnderEdit": "s",
    "both": "o",
    "spread": "s",
    "optimization": "^",
}
LINES = {name: _line(method) for name, method in METHODS.items()} | {
    "Unedited": "-",
    "All": "-",
    "UnderEdit": "--",
    "both": "-",
    "spread": "--",
    "optimization": ":",
}


def new_figure(width: float, height: float) -> Figure:
    """A figure with a canvas of its own: nothing is registered globally, no display is needed."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def heading(figure: Figure, axes: Axes, title: str, columns: int) -> None:
    """A title over the whole figure and, between it and the panel, the legend."""
    if title:
        figure.suptitle(_wrapped(title), fontsize=7.5, parse_math=False)
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.01),
        ncols=columns,
        columnspacing=1.2,
        handletextpad=0.5,
    )


def heading_of_panels(figure: Figure, axes: Axes, title: str, columns: int) -> None:
    """A title over several panels and, between it and them, the legend of the one given."""
    legend = figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=columns,
        columnspacing=1.2,
        handletextpad=0.5,
        title=_wrapped(title),
        title_fontsize=7.5,
    )
    legend.get_title().set_parse_math(False)


def _wrapped(title: str) -> str:
    return "\n".join(textwrap.wrap(printable(title), 56))


def footnote(figure: Figure, text: str) -> None:
    if text:
        figure.supxlabel("\n".join(textwrap.wrap(text, 88)), fontsize=5.2, color=GREY)


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose axes are all of it, in inches from the upper left corner, and do not show."""
    figure = new_figure(width, height)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def place_text(axes: Axes, x: float, y: float, text: str, size: float, **style: Any) -> None:
    """One line, centred on y. A dollar sign is itself, unless ``parse_math`` is set."""
    axes.text(
        x,
        y,
        text,
        fontsize=size,
        **{"va": "center_baseline", "ha": "left", "parse_math": False, **style},
    )


def place_box(
    axes: Axes, x: float, y: float, width: float, height: float, fill: str, **line: Any
) -> None:
    """A box with round corners, framed where ``edgecolor`` is given."""
    shape = "round,pad=0,rounding_size=0.03"
    line = {"edgecolor": "none", "linewidth": 0.7, **line}
    axes.add_patch(FancyBboxPatch((x, y), width, height, shape, facecolor=fill, **line))


def printable(text: str) -> str:
    """`text` in characters that the figures' font has; others as their escapes.

    A model's tokens may be anything: line breaks, control characters, any script.
    """
    glyphs = get_font(findfont(FontProperties()))
    shown = {"\n": "↵", "\r": "↵", "\t": "⇥"}
    return "".join(
        shown.get(c) or (c if c.isprintable() and glyphs.get_char_index(ord(c)) else _escape(c))
        for c in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width in inches of one line of plain text of `size` points."""
    font = FontProperties(size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return width / 72


def fit(
    text: str,
    width: float,
    size: float,
    lines: int = 1,
    keep: Literal["start", "end"] = "start",
    weight: str = "normal",
) -> list[str]:
    """`text` broken into at most `lines` lines of `width` inches in type of `size` points.

    What is too long is cut, with an ellipsis, so that its start or its end stays. A word that is
    longer than a line is cut too.
    """
    words = text.split() or [""]

    def fits(some: list[str]) -> list[str]:
        """The words in lines, or nothing if they need more room."""
        broken = [some[0]]
        for word in some[1:]:
            longer = f"{broken[-1]} {word}"
            if text_width(longer, size, weight) <= width:
                broken[-1] = longer
            else:
                broken.append(word)
        narrow = all(text_width(line, size, weight) <= width for line in broken)
        return broken if narrow and len(broken) <= lines else []

    if whole := fits(words):
        return whole
    # Word by word first, then letter by letter of the one word that is left.
    for n in range(1, len(words)):
        if cut := fits(["…", *words[n:]] if keep == "end" else [*words[:-n], "…"]):
            return cut
    word = words[-1] if keep == "end" else words[0]
    while len(word) > 1 and text_width(word + "…", size, weight) > width:
        word = word[1:] if keep == "end" else word[:-1]
    return ["…" + word if keep == "end" else word + "…"]


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure to ``path`` as PNG and beside it, with the ending .pdf, as PDF.

    Neither carries a date or a program's name; the PDF embeds its fonts (TrueType, not Type 3).
    """
    path = Path(path)
    with finished(path) as png, finished(path.with_suffix(".pdf")) as pdf:
        figure.savefig(png, format="png", metadata={"Software": None})
        bare = dict.fromkeys(("CreationDate", "Creator", "Producer"))
        with matplotlib.rc_context({"pdf.fonttype": 42}):
            figure.savefig(pdf, format="pdf", metadata=bare)


def write_record(path: str | Path, record: dict[str, Any]) -> None:
    """JSON beside the figure; numbers that JSON cannot hold become null."""
    write_json(Path(path).with_suffix(".json"), _plain(record))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
