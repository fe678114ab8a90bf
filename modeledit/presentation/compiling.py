"""A LaTeX document as PDF, where an engine is present that can make it.

The PDF is a convenience: where it cannot be made, the status says why and nothing else stops.
"""

import logging
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from modeledit.io.files import finished

log = logging.getLogger(__name__)

ENGINES = ("pdflatex", "tectonic", "lualatex")
UNICODE = ("lualatex", "tectonic")  # those that take any character
PASSES = 3  # longtable settles its widths in later passes
LAST_ASCII = "\x7f"
LAST_LATIN = "\u017f"  # pdflatex's fonts have no letters beyond


def engines(document: str) -> list[str]:
    """Paths of the engines that are there, the one first that fits the document best."""
    beyond = any(char > LAST_LATIN for char in document)
    ordered = sorted(ENGINES, key=lambda name: beyond and name not in UNICODE)
    return [path for name in ordered if (path := shutil.which(name))]


def typeset(document: Path) -> str:
    """Compile `document` into a PDF beside it, and say in a line how that went.

    What stood there before is removed first. An engine that fails is followed by the next one, and
    the last one gets the document once more with characters that it may have no letters for as
    boxes with their code: those beyond Latin letters, then all but ASCII's.
    """
    target, text = document.with_suffix(".pdf"), document.read_text(encoding="utf-8")
    target.unlink(missing_ok=True)
    found = engines(text)
    if not found:
        return f"skipped: none of {', '.join(ENGINES)} is on PATH; {document.name} is ready"
    tries = [(engine, text, "") for engine in found]
    for boxes in dict.fromkeys((boxed(text), boxed(text, LAST_ASCII))):
        if boxes != text:
            tries.append((found[-1], boxes, "; some characters are boxes with their code"))
    said = []
    for engine, source, note in tries:
        error = compile_document(engine, source, target)
        if error is None:
            return f"compiled: {target.name}{note}"
        said.append(f"{Path(engine).name}: {error}")
    return f"failed: {'; '.join(said)}; {document.name} and the other forms are ready"


def compile_document(engine: str, text: str, target: Path) -> str | None:
    """Compile `text` into the PDF `target`; None, or what the engine says is wrong.

    All that it says is logged. Nothing is written when it fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / target.with_suffix(".tex").name
        source.write_text(text, encoding="utf-8")
        options = [f"--outdir={scratch}"]
        if Path(engine).name != "tectonic":
            options = ["-interaction=nonstopmode", "-halt-on-error"]
            options += [f"-output-directory={scratch}"]
        for _ in range(PASSES):
            done = subprocess.run(
                [engine, *options, str(source)], capture_output=True, text=True, errors="replace"
            )
            output = done.stdout + done.stderr
            log.info("%s", output)
            if done.returncode:
                wrong = re.search(r"^(?:! |error: )(.+)$", output, re.MULTILINE)
                return wrong[1].strip() if wrong else f"exit status {done.returncode}"
        with finished(target) as path:
            path.write_bytes((Path(scratch) / target.name).read_bytes())
    return None


def boxed(text: str, last: str = LAST_LATIN) -> str:
    """`text` with each character beyond `last` as a small box with its code."""
    return "".join(rf"\fbox{{\tiny {ord(char):04X}}}" if char > last else char for char in text)
