"""Figure of the null spaces: the spectrum of each layer's covariance, and where it is cut."""

from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.style
import pandas as pd

from modeledit.presentation.figures.style import (
    GREY,
    STYLE,
    footnote,
    heading_of_panels,
    new_figure,
    save,
    write_record,
)

LINES = ("-", "--", "-.", ":")
LEAST = 1e-12  # of the largest eigenvalue: what is below is rounding
SHOWN = 200  # points of a spectrum in the record beside the figure


def figure_null_space(
    summary: pd.DataFrame,
    spectra: pd.DataFrame,
    path: str | Path,
    *,
    title: str = "",
    note: str = "",
) -> dict[str, Any]:
    """Eigenvalues of each layer's covariance in ascending order, the cut, and what leaks.

    ``summary`` are `schemas.NULL_SPACES` rows, ``spectra`` `schemas.SPECTRA` rows of one model. A
    dot stands where a layer's null space ends. Returns the record, which is also written to
    ``path`` with the ending .json.
    """
    layers, lines = summary.to_dict("records"), cycle(LINES)
    curves = {row["layer"]: spectra[spectra["layer"] == row["layer"]] for row in layers}
    with matplotlib.style.context(STYLE):
        figure = new_figure(3.3, 2.6)
        axes = figure.subplots()
        for row in layers:
            curve = curves[row["layer"]]
            values = curve["eigenvalue"].to_numpy(dtype=float)
            shown = values.clip(LEAST * values.max())
            place = 100 * curve["index"].to_numpy() / len(curve)
            share, leakage = 100 * row["share"], 100 * row["leakage"]
            said = f"layer {row['layer']}: {share:.1f}%, leaks {leakage:.3g}%"
            (line,) = axes.semilogy(place, shown, next(lines), label=said)
            last = row["rank"] - 1
            axes.plot(place[last], shown[last], "o", color=line.get_color(), zorder=3)
        cut, value = str(summary["cut"].iloc[0]), float(summary["value"].iloc[0])
        if cut == "threshold":
            axes.axhline(value, color=GREY, linewidth=0.8)
            axes.annotate(
                f"cut {value:g}",
                (0, value),
                xytext=(2, 2),
                textcoords="offset points",
                fontsize=6,
                color=GREY,
            )
        axes.set_xlim(0, 100)
        axes.set_xlabel("directions of a key, by eigenvalue (%)")
        axes.set_ylabel("eigenvalue of the covariance")
        heading_of_panels(figure, axes, title, 2)
        footnote(figure, note)
        save(figure, path)
    record = {
        "figure": "null_space",
        "cut": cut,
        "value": value,
        "layers": [
            {name: row[name] for name in ("layer", "rank", "d_mlp", "share", "leakage", "trace")}
            | {"eigenvalues": _thinned(curves[row["layer"]])}
            for row in layers
        ],
    }
    write_record(path, record)
    return record


def _thinned(rows: pd.DataFrame) -> list[list[float]]:
    """(index, eigenvalue) of about SHOWN of a layer's rows, the first and the last among them."""
    every = max(1, len(rows) // SHOWN)
    some = pd.concat([rows.iloc[:-1:every], rows.iloc[-1:]])
    return some[["index", "eigenvalue"]].astype(float).to_numpy().tolist()
