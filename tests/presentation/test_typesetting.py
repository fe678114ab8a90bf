"""Tables of plain text in LaTeX: columns of numbers, and the document that holds all tables."""

import re
import shutil

import pandas as pd
import pytest

from modeledit.presentation import compiling
from modeledit.presentation.typesetting import (
    aligned_cell,
    document,
    frame_to_latex,
    to_latex,
)
from tests.presentation.test_tables import ALL, build, frame

NUMBERS = {
    "Eff. S": ["99.87*", "--", "7.10*†"],
    "Interval": ["12.3 (11.0, 13.5)", "4.56 (−1.2, 3.4)", "--"],
    "ME-PPL": ["81.66", "1.23e+05", "∞"],
    "Moved": ["-0.12", "1.5", "12345.6"],
    "Rank": ["600", "1000", "65536"],
    "nothing": ["--", "", "--"],
}
FRAME = pd.DataFrame({"Model": ["GPT-2 XL", "", "a_b"], "Edits": ["10 × 3", "0", "7"]} | NUMBERS)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("12.30", "12.30"),
        ("-0.5", "-0.5"),
        ("--", "{-{}-}"),
        ("", ""),
        ("∞", r"{\ensuremath{\infty}}"),
        ("1.23e+05", r"{\num{1.23e5}}"),
        ("100.00*", "100.00 {{*}}"),
        ("3.2 (1, 4%)", r"3.2 { (1, 4\%)}"),
        ("1.2.3", "{1.2.3}"),
        ("2–4", "{2--4}"),
        ("10 × 3", r"{10 \ensuremath{\times} 3}"),
        ("CPU & co", r"{CPU \& co}"),
    ],
)
def test_a_number_stands_by_itself_and_all_else_in_braces(text, cell):
    assert aligned_cell(text) == cell


def test_columns_have_room_for_their_numbers_and_what_stands_behind():
    latex = frame_to_latex(FRAME, "a", "tab:a", numbers=list(NUMBERS))
    (columns,) = re.findall(r"\\begin{tabular}{@{}(.+)@{}}", latex)
    assert columns == (
        r"l l S[table-format=2.2, table-space-text-post={{*}\ensuremath{^{\dagger}}}] "
        r"S[table-format=2.2, table-space-text-post={ (11.0, 13.5)}] "
        "S[table-format=2.2] S[table-format=-5.2] S[table-format=5.0] r"
    )
    assert "Model & Edits & {Eff. S} & {Interval} & {ME-PPL} & {Moved} & {Rank} & nothing" in latex
    assert frame_to_latex(FRAME, "a", "tab:a").count("S[") == 0


def made_up_tables() -> list[str]:
    """Four tables upright, one of them wide, and three across the page."""
    names = ("iterative", "neighbor", "stopping")
    upright = [to_latex(build(name, frame(ALL), dataset="geography")) for name in names[:2]]
    across = [to_latex(build(f"{name}_all", frame(ALL), dataset="geography")) for name in names]
    wide = pd.DataFrame({f"Column {i}": ["123.45*", "--"] for i in range(16)})
    shown = [(FRAME, list(NUMBERS)), (wide, list(wide.columns))]
    frames = [
        frame_to_latex(one, "Made up, *k* = 1", f"tab:{i}", "A note.", numbers)
        for i, (one, numbers) in enumerate(shown)
    ]
    return [upright[0], across[0], frames[0], *across[1:], upright[1], frames[1]]


def test_tables_across_the_page_come_last():
    text = document(made_up_tables())
    places = [match.start() for match in re.finditer(r"\\begin{longtable}", text)]
    assert len(places) == 3 and min(places) > text.rindex(r"\end{tabular}")
    assert r"\begin{modeleditacross}" not in document(["a table"])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_small_tables_share_pages_and_nothing_sticks_out(tmp_path, caplog):
    tables = made_up_tables()
    path = tmp_path / "tables.tex"
    path.write_text(document(tables, "Made up"), encoding="utf-8")
    with caplog.at_level("INFO"):
        assert compiling.typeset(path) == "compiled: tables.pdf"
    last = caplog.messages[-1]
    assert "Overfull" not in last and "undefined" not in last
    (pages,) = re.findall(r"Output written on .*?\((\d+) pages?", last.replace("\n", ""))
    assert int(pages) < len(tables), pages
