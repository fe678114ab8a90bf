"""One table of the paper as a LaTeX fragment, as HTML and as CSV."""

from pathlib import Path

from modeledit.evaluation.aggregation import Averaging, read_metrics
from modeledit.io.files import finished
from modeledit.io.frames import read_csv
from modeledit.io.log import journal
from modeledit.presentation.figures.stages import describe_all
from modeledit.presentation.tables import Selection, Words, build
from modeledit.presentation.typesetting import to_csv, to_html, to_latex
from modeledit.presentation.wording import describe_dataset, note, small_model_note

TESTED = {
    "iterative": "iteration",
    "neighbor": "neighbor",
    "prefix": "prefix",
    "neighbor_count": "neighbor",
}

with journal(snakemake.log[0]):
    name, dataset = snakemake.wildcards.table, snakemake.wildcards.dataset
    titles = snakemake.params.titles
    averaging = Averaging.of(snakemake.params.switches, snakemake.params.epsilon)
    metrics = read_metrics(snakemake.input.metrics)
    footnotes = []
    if name in TESTED and (path := snakemake.input.get("differences")):
        # A short table says which of the differences it shows hold.
        tested = read_csv(path)
        footnotes = [note(tested, dataset, comparison=TESTED[name], names=titles)]
    if name == "stages":
        footnotes = describe_all(metrics[metrics["dataset"] == dataset], titles, averaging)
    table = build(
        name,
        metrics,
        Selection(dataset, planned=snakemake.params.planned),
        averaging,
        Words(
            describe_dataset(dataset),
            titles,
            note=small_model_note(snakemake.params.small),
            footnotes=[text for text in footnotes if text],
        ),
    )
    for path, text in (
        (snakemake.output.tex, to_latex(table)),
        (snakemake.output.html, to_html(table)),
        (snakemake.output.csv, to_csv(table)),
    ):
        with finished(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")
