"""Tables as Markdown, read back by a parser: the cells of the other forms, and the text."""

import re

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from modeledit.presentation.markdown import escape, frame_to_markdown, to_markdown
from modeledit.presentation.typesetting import to_html
from tests.presentation.test_tables import ALL, build, frame

HOSTILE = ("a|b", "x*y*", "_under_", "`code`", "<b>", "[a](b)", "1~2~", "line\nbreak", "$x$", "\\")


def read(text: str) -> tuple[list[list[str]], str]:
    """The rows of the one table of a Markdown text, as plain text, and what is outside of it."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    rows: list[list[str]] = []
    outside, inside = [], False
    for token in tokens:
        inside = token.type == "table_open" or (inside and token.type != "table_close")
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            plain = "".join(child.content for child in token.children)
            if inside:
                rows[-1].append(plain)
            else:
                outside.append(plain)
    return rows, " ".join(outside)


TABLES = ("iterative", "iterative_all", "stopping", "stopping_all", "neighbor", "neighbor_all")


def table_of(name):
    return build(name, frame(ALL), dataset="geography")


@pytest.mark.parametrize("name", TABLES)
def test_its_cells_are_those_of_the_html(name):
    table = table_of(name)
    (header, *rows), outside = read(to_markdown(table))
    assert header[:3] == ["Model", "Method", "k"] and len(rows) == len(table.frame)
    numbers = len(table.columns)
    html = re.findall(r'<td class="number[^>]*>(.*?)</td>', to_html(table))
    found = [cell for row in rows for cell in row[-numbers:]]
    assert found == [re.sub("</?sup>", "", cell) for cell in html] or found == html
    plain = re.sub(r"[*`]", "", table.caption)
    assert plain.split()[:4] == outside.split()[:4]
    assert [row[1] for row in rows if row[1]]


def test_what_is_bold_is_bold():
    table = table_of("iterative")
    bold = int(table.bold.to_numpy().sum())
    assert bold and to_markdown(table).split("\n\n")[1].count("**") == 2 * bold


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_stays_as_it_is(text):
    frame = pd.DataFrame({"Name": [text, "plain"], "Value": ["1", "2"]})
    rows, outside = read(frame_to_markdown(frame, "A **bold** title.", "tab:x", "--: none.", ()))
    assert rows == [["Name", "Value"], [" ".join(text.split()), "1"], ["plain", "2"]]
    assert outside == "A bold title. --: none."


def test_numbers_are_flush_right():
    frame = pd.DataFrame({"Name": ["a"], "Value": ["1"]})
    assert "|--------:|" in frame_to_markdown(frame, "", "tab:x", "", ("Value",))


def test_an_escaped_text_is_one_line():
    assert escape("a\n  b|c") == r"a b\|c"
