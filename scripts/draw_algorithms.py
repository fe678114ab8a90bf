"""Figure 2: the algorithms, the loop, and the layers that each model's configuration names."""

from modeledit.io.log import journal
from modeledit.presentation.figures.algorithms import figure_algorithms

with journal(snakemake.log[0]):
    figure_algorithms(
        snakemake.params.models, snakemake.output.figure, epsilon=snakemake.params.epsilon
    )
