"""A LaTeX document as PDF, where an engine is present."""

import logging
import shutil
import subprocess
import tempfile
from pathlib import Path

from modeledit.io.files import finished

log = logging.getLogger(__name__)

ENGINES = ("pdflatex", "tectonic")
PASSES = 3  # longtable settles its widths in later passes


def find_engine() -> str | None:
    """Path of the first of ENGINES that is there, or None."""
    return next(filter(None, map(shutil.which, ENGINES)), None)


def compile_document(engine: str, document: Path) -> Path:
    """Compile `document` into a PDF beside it, which is returned.

    What the engine says is logged. Raises RuntimeError, with nothing written, when it fails.
    """
    target = document.with_suffix(".pdf")
    with tempfile.TemporaryDirectory() as scratch:
        options = [f"--outdir={scratch}"]
        if Path(engine).name == "pdflatex":
            options = ["-interaction=nonstopmode", "-halt-on-error"]
            options += [f"-output-directory={scratch}"]
        for _ in range(PASSES):
            done = subprocess.run(
                [engine, *options, str(document)], capture_output=True, text=True, errors="replace"
            )
            log.info("%s", done.stdout + done.stderr)
            if done.returncode:
                raise RuntimeError(
                    f"{engine} failed on {document}: exit status {done.returncode}; what it said "
                    "is in the log"
                )
        with finished(target) as path:
            path.write_bytes((Path(scratch) / target.name).read_bytes())
    return target
