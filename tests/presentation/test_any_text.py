"""Any text in tables: LaTeX that is balanced and says it, HTML that parses back to it."""

import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from modeledit.presentation import compiling
from modeledit.presentation.typesetting import (
    _SPECIAL,
    document,
    escape,
    frame_to_html,
    frame_to_latex,
    markup_html,
    markup_tex,
    to_html,
    to_latex,
)
from modeledit.study.models import Model
from modeledit.study.validation import Invalid, validate
from tests.presentation.test_tables import ALL, build, frame

ROOT = Path(__file__).parents[2]
HARD = ["\\", "{", "}", "$", "&", "#", "%", "_", "^", "~", "<", ">", "|", "[", "]", "*", "`", '"']
HARD += ["--", "''", "``", "?`", "!`", "\n\n", "\t", "\0", "\x0c", "\u2028", "\ud800", "é", "中"]
HARD += [
    "\\begin{x}",
    "%\n",
    "\\\\[2pt]",
    "*x",
    "±×≤≥→λΔ†–",
    "|Δp_k|",
    "<b>",
    "&amp;",
    "</td>",
    "ą",
]
texts = st.lists(st.sampled_from(HARD) | st.text(max_size=3), max_size=8).map("".join)

COMMANDS = {tex: plain for plain, tex in _SPECIAL.items()}
TOKEN = re.compile(
    "|".join(re.escape(tex) for tex in sorted(COMMANDS, key=len, reverse=True))
    + r"|\{\}|[^\\{}$&#%_^~]",
    re.DOTALL,
)


def said(latex):
    """The plain text that LaTeX of `escape` prints; ValueError where something active is left."""
    plain, at = [], 0
    while at < len(latex):
        token = TOKEN.match(latex, at)
        if token is None:
            raise ValueError(f"{latex[at:]!r} in {latex!r}")
        plain.append(COMMANDS.get(token[0], "" if token[0] == "{}" else token[0]))
        at = token.end()
    return "".join(plain)


def as_printed(text):
    """What of `text` can be printed in a line."""
    text = re.sub("[\t\n\x0b\x0c\r\x1c-\x1f\x85\u2028\u2029]", " ", text)
    return re.sub("[\0-\x1f\x7f-\x9f\ud800-\udfff]", "\ufffd", text)


@given(texts)
@example("[")
@example("a--b")
def test_latex_says_the_text_and_nothing_else(text):
    latex = escape(text)
    assert said(latex) == as_printed(text)
    assert not latex.startswith(("[", "*")) and "''" not in latex
    assert "--" not in latex or "–" in text
    latex.encode()


@given(texts)
def test_marked_text_is_balanced_whatever_is_in_it(text):
    latex = markup_tex(text)
    depth = 0
    for brace in re.findall(r"(?<!\\)(?:\\\\)*([{}])", re.sub(r"\\[{}]", "", latex)):
        depth += 1 if brace == "{" else -1
        assert depth >= 0
    assert depth == 0
    latex.encode()


class Read(HTMLParser):
    """The texts of a page's elements by tag, and its figure."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.cells, self.stack, self.figures = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.stack.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "figure":
            self.figures.append(dict(attributes)["id"])

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] in ("td", "th"):
            self.cells[-1] += data


in_frames = texts.map(lambda text: text.replace("\ud800", ""))  # pandas has no such texts


@given(heading=in_frames, cell=in_frames, label=in_frames)
@example(heading="a", cell="x" * 200, label="tab:x")
def test_html_of_a_frame_parses_back_to_its_texts(heading, cell, label):
    page = frame_to_html(pd.DataFrame({heading: [cell, "--"]}), "a *caption*", label, cell)
    read = Read(page)
    assert read.stack == []
    assert read.cells == [heading, cell, "--"]
    assert read.figures == [label.replace(":", "-")]


@given(texts)
def test_marked_html_is_the_text_but_for_its_marks(text):
    plain = Markup(markup_html(text)).striptags
    assert plain
    read = Read(f"<td>{re.sub('</?(b|i|code|sub)>', '', markup_html(text))}</td>")
    without = re.sub(r"[*`\s]", "", text)
    if "Δp" not in text and "p(θ" not in text:
        assert re.sub(r"[*`\s]", "", read.cells[0]) == without


@pytest.mark.parametrize(
    "title", ["", " a", "a ", "a\nb", "a*b*", "`a`", "a\0", "\u2028", "x" * 101]
)
def test_a_title_that_no_table_could_print_is_refused(title):
    described = yaml.safe_load((ROOT / "config/models/smollm2-135m.yaml").read_text("utf-8"))
    with pytest.raises(Invalid, match=r"model: title = .*: must be matching"):
        validate(Model, described | {"title": title}, "model")
    for right in ("x", "GPT-2 XL (1.5B)", "模型 7B", "[a] {b} & 50% <c> \\d", "x" * 100):
        assert validate(Model, described | {"title": right}, "model").title == right


TITLES = ["[a] model", "*starred* [2pt]", "a--b ``c''", "50% & #1 {x} \\d $y_z^2$ ~", "Łódź (1B)"]


@cache
def table(name):
    return build(name, frame(ALL, model="m", trials=2), dataset="geography")


def table_of(title, name="iterative"):
    """A table whose model has this title, in rows that begin with it."""
    rows = table(name).frame.assign(model_name=title)
    return replace(table(name), frame=rows, note=title)


@settings(max_examples=30)
@given(title=in_frames.filter(str.strip))
def test_a_table_says_its_models_title(title):
    read = Read(to_html(table_of(title)))
    assert read.stack == []
    assert any(cell.startswith(title) for cell in read.cells)
    latex = to_latex(table_of(title))
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
@pytest.mark.parametrize("name", ["iterative", "iterative_all"])
def test_tables_of_hard_titles_are_really_typeset(tmp_path, name):
    path = tmp_path / "tables.tex"
    fragments = [to_latex(table_of(title, name), spread=True) for title in TITLES]
    path.write_text(document(fragments, TITLES[0]), encoding="utf-8")
    assert compiling.typeset(path) == "compiled: tables.pdf"


ROWS = [
    *HARD,
    "[1] first",
    "*starred",
    "a--b ''c'' ``d``",
    "x" * 200,
    "Łódź «ŧ» þ",
    "مرحبا",
    "e\u0301",
]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
@pytest.mark.parametrize("ascii_only", [True, False])
def test_any_text_is_really_typeset(tmp_path, ascii_only):
    rows = [row for row in ROWS if row != "\ud800"]
    rows = [row for row in rows if escape(row).isascii()] if ascii_only else rows
    frame = pd.DataFrame({"[h] & *": rows, "%": rows[::-1]})
    path = tmp_path / "tables.tex"
    path.write_text(
        document([frame_to_latex(frame, "50% of *a_b*", "tab:x", "#1 ^ ~")], "T & [x]"),
        encoding="utf-8",
    )
    said = compiling.typeset(path)
    assert said == "compiled: tables.pdf" + (
        "" if ascii_only else "; some characters are boxes with their code"
    )
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("lualatex"), reason="lualatex is not installed")
def test_a_character_that_the_font_lacks_is_no_gap(tmp_path):
    """It used to be left out without a word: "Qwen2-" for a title in Chinese."""
    frame = pd.DataFrame({"Model": ["Qwen2-模型"]})
    path = tmp_path / "tables.tex"
    path.write_text(document([frame_to_latex(frame, "a", "tab:x")]), encoding="utf-8")
    assert (
        compiling.typeset(path) == "compiled: tables.pdf; some characters are boxes with their code"
    )
    if shutil.which("pdftotext"):
        text = subprocess.run(
            ["pdftotext", path.with_suffix(".pdf"), "-"], capture_output=True, text=True
        )
        assert "6A21" in text.stdout
