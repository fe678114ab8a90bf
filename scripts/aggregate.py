"""All runs' metrics in one file, and what each stopping criterion picks."""

from collections.abc import Sequence
from pathlib import Path

from modeledit.evaluation.aggregation import pick_table, read_metrics
from modeledit.io.frames import write_csv
from modeledit.io.log import journal
from modeledit.io.seals import sealed
from modeledit.study.stopping import Rule


def aggregate(runs: Sequence[Path], rule: Rule, metrics: Path, picks: Path) -> None:
    """Gather the metrics.csv of `runs` in `metrics`, and write what `rule` makes of them."""
    gathered = read_metrics(runs)
    write_csv(metrics, gathered)
    write_csv(picks, pick_table(gathered, rule))


if __name__ == "__main__":
    with journal(snakemake.log[0]), sealed(snakemake.input, snakemake.output):
        aggregate(
            [Path(path) for path in snakemake.input],
            Rule(snakemake.params.stop_row, snakemake.params.epsilon),
            Path(snakemake.output.metrics),
            Path(snakemake.output.picks),
        )
