"""What all figures share: the style sheet, colours by name, headings, and saving with a record."""

import math
import textwrap
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from modeledit.files import finished, write_json

TEMPLATES = Path(__file__).resolve().parents[1] / "workflow" / "templates"

STYLE = TEMPLATES / "paper.mplstyle"

# Okabe-Ito. Colour always goes with a marker, line style or hatch, so none is needed to read on.
COLOURS = {
    "ROME": "#E69F00",
    "MEMIT": "#0072B2",
    "NA_MEMIT": "#56B4E9",
    "NAP_MEMIT": "#000000",
    "PMET": "#D55E00",
    "NA_PMET": "#CC79A7",
    "NAP_PMET": "#009E73",
    "Unedited": "#7F7F7F",
    "p_bar": "#009E73",
    "p_hat": "#0072B2",
    "All": "#0072B2",
    "UnderEdit": "#D55E00",
    "eff_acc": "#0072B2",
    "gen_acc": "#E69F00",
    "spec_acc": "#009E73",
    "score_acc": "#000000",
}


def new_figure(width: float, height: float) -> Figure:
    """A figure with a canvas of its own: nothing is registered globally, no display is needed."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def heading(figure: Figure, axes: Axes, title: str, columns: int) -> None:
    """A title over the whole figure and, between it and the panel, the legend."""
    if title:
        figure.suptitle("\n".join(textwrap.wrap(title, 56)), fontsize=7.5)
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.01),
        ncols=columns,
        columnspacing=1.2,
        handletextpad=0.5,
    )


def footnote(figure: Figure, text: str) -> None:
    if text:
        figure.supxlabel("\n".join(textwrap.wrap(text, 88)), fontsize=5.2, color="#555555")


def save(figure: Figure, path: str | Path) -> None:
    with finished(Path(path)) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


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
