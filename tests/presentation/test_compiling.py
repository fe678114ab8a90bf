"""The document of all tables through an engine: a made-up one, that does what it is told."""

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


@pytest.mark.parametrize("name", compiling.ENGINES)
def test_the_pdf_is_beside_the_document_after_all_passes(tmp_path, engine, name):
    document = tmp_path / "out" / "tables.tex"
    document.parent.mkdir()
    document.write_text("text")
    assert compiling.compile_document(engine(name), document) == document.with_suffix(".pdf")
    assert document.with_suffix(".pdf").read_text() == "a page"
    assert sorted(p.name for p in document.parent.iterdir()) == ["tables.pdf", "tables.tex"]
    passes = (tmp_path / "passes").read_text().splitlines()
    assert len(passes) == compiling.PASSES
    assert all(("-halt-on-error" in line) == (name == "pdflatex") for line in passes)


def test_an_engine_that_fails_leaves_nothing(tmp_path, engine, caplog):
    document = tmp_path / "tables.tex"
    document.write_text("text")
    with (
        caplog.at_level("INFO"),
        pytest.raises(RuntimeError, match=rf"tectonic failed on {document}: exit status 3"),
    ):
        compiling.compile_document(engine("tectonic", "sys.exit(3)"), document)
    assert "typesetting" in caplog.text
    assert not document.with_suffix(".pdf").exists()
    assert len((tmp_path / "passes").read_text().splitlines()) == 1


def test_an_engine_is_found_on_the_path_or_not(tmp_path, engine, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compiling.find_engine() is None
    tectonic = engine("tectonic")
    assert compiling.find_engine() == tectonic
    assert compiling.find_engine() != engine("pdflatex") == compiling.find_engine()
