"""All tables in one LaTeX document, compiled where an engine is present."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from modeledit.io.files import finished
from modeledit.io.log import journal
from modeledit.presentation.typesetting import document

with journal(snakemake.log[0]) as log, finished(Path(snakemake.output.status)) as status:
    folder = Path(snakemake.output.document).parent
    fragments = [Path(path).read_text(encoding="utf-8") for path in snakemake.input.tables]
    with finished(Path(snakemake.output.document)) as path:
        path.write_text(document(fragments, snakemake.params.title), encoding="utf-8")
    engine = shutil.which("pdflatex") or shutil.which("tectonic")
    if not engine:
        status.write_text("skipped: neither pdflatex nor tectonic on PATH; tables.tex is ready\n")
    else:
        with tempfile.TemporaryDirectory() as scratch:
            command = [engine, f"--outdir={scratch}", str(folder / "tables.tex")]
            if Path(engine).name == "pdflatex":
                command = [engine, "-interaction=nonstopmode", "-halt-on-error"]
                command += [f"-output-directory={scratch}", str(folder / "tables.tex")]
            for _ in range(3):  # longtable settles its widths in later passes
                done = subprocess.run(command, capture_output=True, text=True, errors="replace")
                log.info("%s", done.stdout + done.stderr)
                if done.returncode:
                    raise RuntimeError(
                        f"{engine} failed on {folder}/tables.tex; see {snakemake.log[0]}"
                    )
            with finished(folder / "tables.pdf") as path:
                path.write_bytes((Path(scratch) / "tables.pdf").read_bytes())
        status.write_text("compiled: tables.pdf\n")
    log.info("%s", status.read_text(encoding="utf-8"))
