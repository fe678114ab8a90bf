"""The document of all tables through an engine: a made-up one, that does what it is told."""

import shutil
import sys

import pytest

from modeledit.presentation import compiling

ENGINE = """#!{python}
import sys
from pathlib import Path
folder = next(a for a in sys.argv if "dir" in a).split("=")[1]
counted = Path({counted!r})
counted.write_text(counted.read_text() + " ".join(sys.argv[1:-1]) + "\\n")
print("typesetting", sys.argv[-1])
{then}
(Path(folder) / "tables.pdf").write_text("a page")
"""


@pytest.fixture
def engine(tmp_path):
    """Makes an engine of a name that does something in the middle of a pass."""
    (tmp_path / "passes").write_text("")

    def make(name, then=""):
        path = tmp_path / name
        path.write_text(
            ENGINE.format(python=sys.executable, counted=str(tmp_path / "passes"), then=then)
        )
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def document(tmp_path, monkeypatch):
    """A document whose engines are those that a test makes, with the PDF of an earlier time."""
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "out" / "tables.tex"
    path.parent.mkdir()
    path.write_text("text", encoding="utf-8")
    path.with_suffix(".pdf").write_text("an older page")
    return path


@pytest.mark.parametrize("name", compiling.ENGINES)
def test_the_pdf_is_beside_the_document_after_all_passes(tmp_path, engine, document, name):
    engine(name)
    assert compiling.typeset(document) == "compiled: tables.pdf"
    assert document.with_suffix(".pdf").read_text() == "a page"
    assert sorted(p.name for p in document.parent.iterdir()) == ["tables.pdf", "tables.tex"]
    passes = (tmp_path / "passes").read_text().splitlines()
    assert len(passes) == compiling.PASSES
    assert all(("-halt-on-error" in line) == (name != "tectonic") for line in passes)


def test_an_engine_that_fails_is_said_and_leaves_nothing_old(tmp_path, engine, document, caplog):
    engine("pdflatex", "print('! LaTeX Error: File `siunitx.sty\\' not found.'); sys.exit(1)")
    engine("tectonic", "sys.exit(3)")
    with caplog.at_level("INFO"):
        said = compiling.typeset(document)
    assert said == (
        "failed: pdflatex: LaTeX Error: File `siunitx.sty' not found.; tectonic: exit status 3; "
        "tables.tex and the other forms are ready"
    )
    assert "typesetting" in caplog.text
    assert [p.name for p in document.parent.iterdir()] == ["tables.tex"]
    assert len((tmp_path / "passes").read_text().splitlines()) == 2


def test_without_an_engine_the_document_is_ready(document):
    said = compiling.typeset(document)
    assert said == "skipped: none of pdflatex, tectonic, lualatex is on PATH; tables.tex is ready"
    assert not document.with_suffix(".pdf").exists()


def test_what_pdflatex_has_no_letters_for_goes_to_another_engine_or_into_boxes(engine, document):
    document.write_text("模型", encoding="utf-8")
    refuses = "if '模' in Path(sys.argv[-1]).read_text('utf-8'): sys.exit(1)"
    engine("pdflatex", refuses)
    assert compiling.typeset(document) == (
        "compiled: tables.pdf; some characters are boxes with their code"
    )
    assert document.read_text(encoding="utf-8") == "模型"
    engine("lualatex")
    assert compiling.typeset(document) == "compiled: tables.pdf"
    assert compiling.boxed("Köln 模") == r"Köln \fbox{\tiny 6A21}"


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_a_real_engine_makes_the_pdf_of_a_name_in_another_script(tmp_path):
    path = tmp_path / "tables.tex"
    text = r"\documentclass{article}\begin{document}%s, Köln\end{document}"
    path.write_text(text % "模型", encoding="utf-8")
    assert compiling.typeset(path).startswith("compiled: tables.pdf")
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
