"""Figure of the number of neighbors in the loss (paper, section 6)."""

from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd

from modeledit.presentation.figures.style import (
    COLOURS,
    STYLE,
    footnote,
    heading,
    new_figure,
    save,
    write_record,
)
from modeledit.study.methods import METHODS

NEIGHBOR_COUNT = {  # metric: label, marker, line
    "eff_acc": ("efficacy", "o", ":"),
    "gen_acc": ("generalization", "s", "--"),
    "spec_acc": ("specificity", "^", "-"),
    "score_acc": ("score", "D", "-."),
}


def figure_neighbor_count(
    stops: pd.DataFrame,
    path: str | Path,
    *,
    algorithm: str,
    title: str = "",
    note: str = "",
) -> dict[str, Any]:
    """Accuracies at the stop against the number of neighbors in the loss (paper, section 6).

    ``stops`` are `aggregation.at_stop` rows of one dataset and model; the plain method has 0
    neighbors. Bars show the standard deviation over trials where there are several. Returns the
    record, which is also written to ``path`` with the ending .json. Raises ValueError if there is
    nothing to compare.
    """
    counts = {
        m.name: m.n_neighbors
        for m in METHODS.values()
        if m.algorithm == algorithm and not m.neighbor_prefixed
    }
    rows = stops[stops["method"].isin(counts)]
    rows = rows.assign(n=rows["method"].map(counts)).sort_values("n")
    if len(rows) < 2:
        raise ValueError(f"figure: {algorithm} was run with {len(rows)} numbers of neighbors only")
    with matplotlib.style.context(STYLE):
        figure = new_figure(3.3, 2.35)
        axes = figure.subplots()
        ticks = list(range(len(rows)))  # 0, 1, 2, 4, 8 evenly spaced
        for name, (label, marker, line) in NEIGHBOR_COUNT.items():
            spread = 100 * rows[f"{name}_sd"].to_numpy(dtype=float)
            axes.errorbar(
                ticks,
                100 * rows[name],
                yerr=np.nan_to_num(spread) if np.isfinite(spread).any() else None,
                label=label,
                marker=marker,
                linestyle=line,
                color=COLOURS[name],
                capsize=2,
            )
        axes.set_xticks(ticks, [str(n) for n in rows["n"]])
        axes.set_xlabel("neighbors in the loss")
        axes.set_ylabel("accuracy (%)")
        heading(figure, axes, title, 2)
        footnote(figure, note)
        save(figure, path)
    record = {
        "figure": "neighbor_count",
        "algorithm": algorithm,
        "n_neighbors": rows["n"].tolist(),
        "k": rows["k_text"].tolist(),
        "n_requests": rows["n_requests"].tolist(),
        "series": {name: rows[name].astype(float).tolist() for name in NEIGHBOR_COUNT},
        "sd": {name: rows[f"{name}_sd"].astype(float).tolist() for name in NEIGHBOR_COUNT},
    }
    write_record(path, record)
    return record
