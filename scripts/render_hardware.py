"""Table 5: what the jobs ran on, beside the paper's GPUs."""

from pathlib import Path

from modeledit.io.files import finished
from modeledit.io.frames import read_csv
from modeledit.io.log import journal
from modeledit.paper.published import read_hardware
from modeledit.presentation.hardware_table import summary
from modeledit.presentation.typesetting import frame_to_html, frame_to_latex
from modeledit.presentation.wording import describe_dataset

CAPTION = (
    "Hardware: what the iteration jobs of each run used, summed over trials and iterations. Min/job"
    " is the median job; GB is one billion bytes at the highest job's peak. Paper: the GPU that the"
    " paper names."
)
NOTE = "--: not measured there (a CPU, a driver that does not tell), or not in the paper."

with journal(snakemake.log[0]):
    hardware = read_csv(snakemake.input[0])
    published = read_hardware(Path(snakemake.input.published).parent)
    described = {name: describe_dataset(name) for name in hardware["dataset"].unique()}
    table = summary(hardware, published, snakemake.params.titles, described)
    for path, text in (
        (snakemake.output.tex, frame_to_latex(table, CAPTION, "tab:hardware", NOTE)),
        (snakemake.output.html, frame_to_html(table, CAPTION, "tab:hardware", NOTE)),
        (snakemake.output.csv, table.to_csv(index=False)),
    ):
        with finished(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")
