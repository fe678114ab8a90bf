"""A table of plain text in all its forms, written beside each other."""

from collections.abc import Sequence

import pandas as pd

from modeledit.io.files import write_text
from modeledit.presentation.markdown import frame_to_markdown
from modeledit.presentation.typesetting import TableFiles, frame_to_html, frame_to_latex


def write_frame(
    outputs: TableFiles,
    rows: pd.DataFrame,
    printed: pd.DataFrame,
    caption: str,
    label: str,
    note: str = "",
    numbers: Sequence[str] = (),
) -> None:
    """Write `printed` as LaTeX, HTML and Markdown, and its unrounded `rows` as CSV.

    What the other arguments are is said in `typesetting.frame_to_latex`.
    """
    shown = (printed, caption, label, note, numbers)
    write_text(outputs.tex, frame_to_latex(*shown))
    write_text(outputs.html, frame_to_html(*shown))
    write_text(outputs.md, frame_to_markdown(*shown))
    write_text(outputs.csv, rows.to_csv(index=False, lineterminator="\n"))
