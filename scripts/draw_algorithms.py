"""Figure 2: the algorithms, the loop, and the layers that each model's configuration names."""

from collections.abc import Mapping
from pathlib import Path

from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.figures.algorithms import figure_algorithms
from modeledit.study.models import Model


def draw_algorithms(models: Mapping[str, Model], epsilon: float, figure: Path) -> None:
    """Draw the schematic, with its PDF and record beside `figure`."""
    figure_algorithms(models, figure, epsilon=epsilon)


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        draw_algorithms(
            snakemake.params.models, snakemake.params.epsilon, Path(snakemake.output.figure)
        )
