"""What a table says below itself of the differences and shares that were tested."""

from collections.abc import Mapping

import pandas as pd

from modeledit.evaluation.aggregation import Averaging
from modeledit.presentation.wording import note

TESTED = {  # a short table: the comparison of differences.csv that it shows
    "iterative": "iteration",
    "neighbor": "neighbor",
    "prefix": "prefix",
    "neighbor_count": "neighbor",
}


def difference_notes(
    table: str, dataset: str, differences: pd.DataFrame | None, titles: Mapping[str, str]
) -> list[str]:
    """Which of the differences that a short table shows hold; nothing where none was tested."""
    if table not in TESTED or differences is None:
        return []
    said = note(differences, dataset, comparison=TESTED[table], names=titles)
    return [said] if said else []


def stage_notes(
    table: str, metrics: pd.DataFrame, titles: Mapping[str, str], averaging: Averaging
) -> list[str]:
    """The shares of either stage, below the table of stages; ``metrics`` are of one dataset."""
    if table != "stages":
        return []
    from modeledit.presentation.figures.stages import describe_all  # with matplotlib, for this one

    return describe_all(metrics, titles, averaging)
