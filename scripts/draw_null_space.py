"""The spectra of a model's covariances, and where its null spaces end."""

from pathlib import Path

from modeledit.evaluation.schemas import NULL_SPACES, SPECTRA
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.presentation.figures.null_space import figure_null_space
from modeledit.presentation.wording import small_model_note


def draw_null_space(
    summary: Path, spectra: Path, title: str, small: list[str], figure: Path
) -> None:
    """Draw the null spaces of a model, with PDF and record beside `figure`."""
    figure_null_space(
        NULL_SPACES.read_csv(summary),
        SPECTRA.read(spectra),
        figure,
        title=f"Null space of {title}: directions, and what leaks",
        note=small_model_note(small),
    )


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        draw_null_space(
            Path(snakemake.input.summary),
            Path(snakemake.input.spectra),
            snakemake.params.title,
            snakemake.params.small,
            Path(snakemake.output.figure),
        )
