"""Figure 2 of the paper: where algorithms add their deltas, what they write, the loop (SPEC H).

Drawn from the descriptions in `methods` and the layers of the models. Files and records as in
`perplexity_stages`.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from modeledit.presentation.figures.style import (
    COLOURS,
    GREY,
    MARKERS,
    STYLE,
    fit,
    place_box,
    place_text,
    printable,
    save,
    sheet,
    write_record,
)
from modeledit.study.methods import METHODS, Method
from modeledit.study.models import Model
from modeledit.study.stopping import EPSILON

SITES = {"block": "h", "mlp": "z", "attention_out": r"\mathrm{Attn}"}
RULES = {  # write, sharing: rule
    ("spread", "linear"): r"least squares, residual $R/(L-i)$",
    ("spread", "sqrt"): r"least squares, residual $R/\sqrt{L-i}$",
    ("rank_one", "linear"): r"rank one, $W k = \bar z$ exactly",
}
EXPLAINED = (
    "R: target less what the model gives with the layers below already written; L: how many layers"
    " are written, i = 0, …, L − 1 which of them. Simplified: (a) leaves out norms and gates, and"
    " GPT-J runs both modules side by side."
)
# Inches: heights of the parts, columns of the table, and where the first delta of a site sits and
# the next one beside it.
BLOCK, LOOP, LAYER_ROW, MODEL_GAP, TABLE_ROW = 1.3, 1.88, 0.1, 0.07, 0.19
TABLE = {
    "": 0.05,
    "OPTIMIZATION adds δ to": 0.9,
    "residual R read at": 2.45,
    "SPREAD writes": 3.75,
    "by": 5.05,
}
BEADS = {
    "block": (5.95, 0.98, 0.14, 0),
    "mlp": (5.3, 0.64, 0, 0.13),
    "attention_out": (2.5, 0.64, 0, 0.13),
}


def figure_algorithms(
    models: Mapping[str, Model],
    path: str | Path,
    *,
    epsilon: float = EPSILON,
) -> dict[str, Any]:
    """Where the algorithms add their deltas, what they write, and the loop (paper, Figure 2).

    ``models`` are descriptions of models by name (config/models): `title`, `depth`, and the layers
    of each algorithm; which of the paper's algorithms are drawn follows from them. What an
    algorithm optimises and writes is read off its description in `methods` (SPEC A.2).

    Returns the record, which is also written to ``path`` with the ending .json. Raises ValueError
    if there are no models.
    """
    if not models:
        raise ValueError("figure: there are no models, so no layers that an algorithm writes")
    named = {name for model in models.values() for name in model.algorithms.described()}
    methods = [method for name, method in METHODS.items() if name in named and method.in_paper]
    record = {
        "figure": "algorithms",
        "epsilon": epsilon,
        "algorithms": {m.name: _table_row(m) | {"sites": list(m.sites)} for m in methods},
        "models": {
            name: {
                "title": model.title,
                "depth": model.depth,
                "layers": {
                    m.name: list(model.hyperparameters(m.name).layers)
                    for m in methods
                    if m.name in model.algorithms.described()
                },
            }
            for name, model in models.items()
        },
    }
    with matplotlib.style.context(STYLE):
        save(_draw_algorithms(record), path)
    write_record(path, record)
    return record


def _table_row(method: Method) -> dict[str, str]:
    """A row of the table, under the headings TABLE."""
    one = method.write == "rank_one"
    last = " of layer $l_*$" if one else " of layer $l_c$"
    row = (
        method.name,
        " and ".join(f"${SITES[site]}$" for site in method.sites) + last,
        f"${SITES[method.residual_site]}$" + last,
        "$W$" + (last if one else r" of layers $l_1, \ldots, l_c$"),
        RULES[method.write, method.sharing],
    )
    return dict(zip(TABLE, row, strict=True))


def _draw_algorithms(record: dict[str, Any]) -> Figure:
    layers = sum(MODEL_GAP + LAYER_ROW * len(m["layers"]) for m in record["models"].values())
    below = BLOCK + max(LOOP, 0.3 + layers)
    figure, axes = sheet(7.0, below + 0.7 + TABLE_ROW * len(record["algorithms"]))
    _draw_block(axes, record)
    _draw_loop(axes, BLOCK, record["epsilon"])
    _draw_layers(axes, BLOCK, record)
    _draw_table(axes, below, record)
    return figure


def _draw_block(axes: Axes, record: dict[str, Any]) -> None:
    place_text(axes, 0.05, 0.1, "(a) One transformer block at the subject's last token", 7.5)
    stream, top = 0.98, 0.46
    _arrow(axes, (0.4, stream), (6.5, stream))
    place_text(axes, 0.37, stream, "$h^{l-1}$", 8, ha="right", parse_math=True)
    place_text(axes, 6.53, stream, "$h^{l}$", 8, parse_math=True)
    modules = (  # where it branches off, where it is added, its output, its parts: x, width, label
        (0.65, 2.5, "attention_out", ((0.85, 0.75, "attention"), (1.75, 0.5, "out"))),
        (3.25, 5.3, "mlp", ((3.45, 0.45, "up"), (4.05, 0.3, "σ"), (4.6, 0.5, "$W^{l}$"))),
    )
    for branch, added, site, parts in modules:
        _arrow(axes, (branch, stream), (branch, top), (parts[0][0], top))
        for (x, width, _), (after, *_) in pairwise(parts):
            _arrow(axes, (x + width, top), (after, top))
        for x, width, label in parts:
            written = label == "$W^{l}$"
            colours = ("#CFCFCF", "black") if written else ("#F2F2F2", GREY)
            place_box(axes, x, top - 0.14, width, 0.28, colours[0], edgecolor=colours[1])
            place_text(axes, x + width / 2, top, label, 7, ha="center", parse_math=written)
        _arrow(axes, (x + width, top), (added, top), (added, stream - 0.08))
        axes.plot(added, stream, "o", color="white", markeredgecolor="black", markersize=9)
        place_text(axes, added, stream, "+", 8, ha="center")
        name = f"${SITES[site]}^{{l}}$"
        place_text(axes, added, top - 0.1, name, 7.5, ha="center", parse_math=True)
    place_text(axes, 1.55, top + 0.22, "attention module", 6, ha="center", color=GREY)
    place_text(axes, 3.9, top + 0.22, "MLP", 6, ha="center", color=GREY)
    place_text(axes, 4.48, top - 0.1, "$k$", 7, ha="center", parse_math=True)
    place_text(axes, 4.85, top + 0.22, "SPREAD writes", 6, ha="center")
    for site, (x, y, dx, dy) in BEADS.items():
        here = [name for name, row in record["algorithms"].items() if site in row["sites"]]
        for i, name in enumerate(here):
            _bead(axes, x + dx * i, y + dy * i, name, 6)
            at = (x + 0.08, y + dy * i) if dy else (x - 0.1, y - 0.14 - 0.12 * i)
            place_text(axes, *at, f"δ {name}", 6.5)


def _draw_loop(axes: Axes, y: float, epsilon: float) -> None:
    place_text(axes, 0.05, y + 0.05, "(b) Two stages, repeated until the rule is met", 7.5)
    box, height = y + 0.8, 0.46
    centre, back = box + height / 2, box + height + 0.17
    place_box(axes, 0.1, y + 0.22, 1.4, 0.28, "white", edgecolor=GREY)
    loss = r"$-\log p(o^*) + \mathrm{KL} + \Vert\delta\Vert$"
    place_text(axes, 0.8, y + 0.36, loss, 7, ha="center", parse_math=True)
    place_text(axes, 1.6, y + 0.36, "+", 8, ha="center")
    place_box(axes, 1.7, y + 0.22, 0.9, 0.28, "white", edgecolor="black", linestyle="--")
    neighbor = r"$-\log p(o\,|\,\tilde x)$"
    place_text(axes, 2.15, y + 0.36, neighbor, 7, ha="center", parse_math=True)
    place_text(axes, 2.67, y + 0.31, "with a neighbor in the loss:", 6)
    place_text(axes, 2.67, y + 0.41, "NA_, or NAP_ with prefixes", 6)
    _arrow(axes, (0.6, y + 0.5), (0.6, box))
    turn = y + 0.64
    _arrow(axes, (2.15, y + 0.5), (2.15, turn), (0.8, turn), (0.8, box), style="--")
    for x, width, name, gives in (
        (0.1, 1.15, "OPTIMIZATION", r"targets under $\theta_k$"),
        (1.6, 0.95, "SPREAD", r"weights $\theta_{k+1}$"),
    ):
        place_box(axes, x, box, width, height, "#F2F2F2", edgecolor="black")
        place_text(axes, x + width / 2, box + 0.15, name, 7, ha="center", fontweight="bold")
        place_text(axes, x + width / 2, box + 0.32, gives, 6.5, ha="center", parse_math=True)
    _arrow(axes, (1.25, centre), (1.6, centre))
    place_text(axes, 1.42, centre - 0.11, r"$\bar h_k$", 7, ha="center", parse_math=True)
    _arrow(axes, (2.55, centre), (2.85, centre))
    place_text(axes, 2.69, centre - 0.11, r"$\hat h_k$", 7, ha="center", parse_math=True)
    corners = [(2.85, centre), (3.3, centre - 0.26), (3.75, centre), (3.3, centre + 0.26)]
    axes.add_patch(Polygon(corners, facecolor="white", edgecolor="black", linewidth=0.7))
    rule = rf"$|\Delta p_k| \leq {epsilon:g}$"
    place_text(axes, 3.3, centre, rule, 6.5, ha="center", parse_math=True)
    _arrow(axes, (3.75, centre), (3.98, centre))
    place_text(axes, 3.85, centre - 0.08, "yes", 6, ha="center")
    place_text(axes, 4.0, centre, "stop", 7, fontweight="bold")
    _arrow(axes, (3.3, centre + 0.26), (3.3, back), (0.675, back), (0.675, box + height))
    place_text(axes, 3.34, back - 0.05, "no", 6)
    again = "k + 1: both stages again, on the changed weights"
    place_text(axes, 2.0, back + 0.08, again, 6, ha="center")
    defined = r"$\Delta p_k = p(\theta_{k+1}, \hat h_k) - p(\theta_k, \bar h_k)$"
    place_text(axes, 2.0, back + 0.23, defined, 6.5, ha="center", parse_math=True)


def _draw_layers(axes: Axes, y: float, record: dict[str, Any]) -> None:
    left, right = 5.2, 6.35
    heading = "(c) Layers whose $W^{l}$ is written"
    place_text(axes, 4.5, y + 0.05, heading, 7.5, parse_math=True)
    step = (right - left) / max(model["depth"] for model in record["models"].values())
    y += 0.25
    for model in record["models"].values():
        title = fit(printable(model["title"]), left - 4.4, 6)[0]
        middle = y + LAYER_ROW / 2 * (len(model["layers"]) - 1)
        place_text(axes, left - 0.1, middle, title, 6, ha="right")
        for name, layers in model["layers"].items():
            right_end = left + step * model["depth"]
            axes.plot([left, right_end], [y, y], color="#BBBBBB", linewidth=0.6)
            for layer in layers:
                _bead(axes, left + step * (layer + 0.5), y, name, 2.6)
            place_text(axes, right + 0.06, y, f"{name} {_spans(layers)}", 5.5)
            y += LAYER_ROW
        y += MODEL_GAP


def _spans(layers: Sequence[int]) -> str:
    """Layers as ranges: "3–8", "5", "3–5, 9"."""
    runs: list[list[int]] = []
    for layer in sorted(layers):
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(f"{run[0]}–{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _draw_table(axes: Axes, y: float, record: dict[str, Any]) -> None:
    place_text(axes, 0.05, y + 0.05, "(d) The algorithms", 7.5)
    y += 0.26
    last = y + TABLE_ROW * (len(record["algorithms"]) + 0.5)
    for rule in (y - TABLE_ROW / 2, y + TABLE_ROW / 2, last):
        axes.plot([0.05, 6.95], [rule, rule], color="black", linewidth=0.6)
    for heading, x in TABLE.items():
        place_text(axes, x, y, heading, 6.5, fontweight="bold")
    for name, row in record["algorithms"].items():
        y += TABLE_ROW
        _bead(axes, 0.11, y, name, 5)
        place_text(axes, 0.22, y, name, 7)
        for heading in list(TABLE)[1:]:
            place_text(axes, TABLE[heading], y, row[heading], 7, parse_math=True)
    for i, line in enumerate(fit(EXPLAINED, 6.9, 5.5, 2)):
        place_text(axes, 0.05, last + 0.1 + 0.1 * i, line, 5.5, color=GREY)


def _bead(axes: Axes, x: float, y: float, name: str, size: float) -> None:
    axes.plot(
        x,
        y,
        linestyle="none",
        marker=MARKERS[name],
        markersize=size,
        color=COLOURS[name],
        markeredgecolor="black",
        markeredgewidth=0.4,
        zorder=5,
    )


def _arrow(axes: Axes, *points: tuple[float, float], style: str = "-") -> None:
    """A line along the points with a head at the last one."""
    *_, before, last = points
    line: dict[str, Any] = {"color": "black", "linewidth": 0.8, "linestyle": style}
    axes.plot(*zip(*points[:-1], strict=True), **line)
    head = {"arrowstyle": "-|>", "mutation_scale": 6, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", last, before, arrowprops=head | line)
