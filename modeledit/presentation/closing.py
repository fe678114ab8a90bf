"""What a run says when it has ended well: what there is now, and where to look first."""

from pathlib import Path

LOOK_AT = (  # below results/{name}/, the best first
    ("facts.html", "what became of your facts, for the browser"),
    ("facts.txt", "the same for the terminal"),
    ("facts.csv", "the same as numbers, after every iteration"),
    ("report.html", "everything on one page, for the browser"),
    ("tables/tables.pdf", "the tables, typeset"),
    ("tables", "the tables as LaTeX, HTML, Markdown and CSV"),
    ("figures", "the figures as PNG and PDF"),
    ("metrics.csv", "every run and iteration"),
    ("sequences.csv", "every sequence and batch"),
)


def closing_lines(results: Path) -> list[str]:
    """A line for each of LOOK_AT that is there; none where nothing is."""
    present = [(str(results / name), what) for name, what in LOOK_AT if (results / name).exists()]
    width = max((len(path) for path, _ in present), default=0)
    return [f"  {path:{width}}  {what}" for path, what in present]
