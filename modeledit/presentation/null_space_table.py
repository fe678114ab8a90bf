"""The room that AlphaEdit has at each layer of a model, and what of other keys it still meets."""

import pandas as pd

from modeledit.presentation.wording import small_model_note

NOTE = (
    "Rank: directions of a key that updates are written into, the eigenvectors of the covariance C"
    " with the smallest eigenvalues; P projects onto them. Leakage: tr(P C) / tr(C), the share of"
    " the mean squared key of ordinary text that an update still acts on; outside: the rest, which"
    " it leaves as it was. tr(C): the mean squared norm of a key."
)
NUMBERS = (
    *("Layer", "Rank", "of", "Rank (%)", "Leakage (%)", "Outside (%)", "tr(C)"),
    *("Smallest eigenvalue", "Largest"),
)


def caption(title: str, summary: pd.DataFrame) -> str:
    """Caption of a model's table; `summary` are NULL_SPACES rows."""
    return f"Null space of {title}, {describe_cut(summary)}."


def describe_cut(summary: pd.DataFrame) -> str:
    """In words, by which cut the null spaces of a model were taken."""
    kind, value = summary["cut"].iloc[0], float(summary["value"].iloc[0])
    return {
        "threshold": f"eigenvalues below {value:g}",
        "trace": f"the smallest eigenvalues, up to {100 * value:g}% of the trace",
        "rank": f"the {value:.0f} smallest eigenvalues",
    }[kind]


def cells(summary: pd.DataFrame) -> pd.DataFrame:
    """The table as text, one row per layer."""
    rows = [
        {
            "Layer": str(row["layer"]),
            "Rank": str(row["rank"]),
            "of": str(row["d_mlp"]),
            "Rank (%)": f"{100 * row['share']:.1f}",
            "Leakage (%)": f"{100 * row['leakage']:.3g}",
            "Outside (%)": f"{100 * row['outside']:.3g}",
            "tr(C)": f"{row['trace']:.4g}",
            "Smallest eigenvalue": f"{row['smallest']:.3g}",
            "Largest": f"{row['largest']:.3g}",
        }
        for row in summary.to_dict("records")
    ]
    return pd.DataFrame(rows)


def note(small: list[str]) -> str:
    """What stands below the table; `small` as of `wording.small_model_note`."""
    return f"{NOTE} {small_model_note(small)}".rstrip()
