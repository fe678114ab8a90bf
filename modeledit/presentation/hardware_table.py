"""What jobs ran on: device, wall time, peak memory, energy; and Table 5 (paper, appendix C)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd

from modeledit.io.hardware import Hardware, read_hardware
from modeledit.study.layout import RunKey, iteration_of

CAPTION = (
    "Hardware: what the iteration jobs of each run used, summed over trials and iterations. Min/job"
    " is the median job; GB is one billion bytes at the highest job's peak. Paper: the GPU that the"
    " paper names."
)
NOTE = "--: not measured there (a CPU, a driver that does not tell), or not in the paper."
NUMBERS = ("Jobs", "Hours", "Min/job", "GB device", "GB host", "kWh")
COLUMNS = (*RunKey._fields, "k", *(field.name for field in fields(Hardware)))  # hardware.csv


def gather(paths: Sequence[str | Path]) -> pd.DataFrame:
    """One row per iteration that edited, from `hardware.json` of each.

    Iterations that only passed a stop on ran nowhere and are left out.
    """
    rows = []
    for path in map(Path, paths):
        if used := read_hardware(path):
            run, k = iteration_of(path)
            rows.append(run._asdict() | {"k": k} | asdict(used))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def summary(
    hardware: pd.DataFrame,
    published: pd.DataFrame,
    names: Mapping[str, str],
    describe: Mapping[str, str],
) -> pd.DataFrame:
    """Table 5: per model, method and dataset what the jobs ran on and took, and the paper's GPU.

    ``names`` and ``describe`` give the printed names of models and datasets; ``published`` are
    `published.read_hardware` rows. Every cell is text, "--" where nothing is known.
    """
    gpus = published.set_index(["model", "method", "dataset"])["gpu"].to_dict()
    rows = []
    for key, jobs in hardware.groupby(["model", "method", "dataset"], sort=False):
        model, method, dataset = map(str, key)
        rows.append(
            {
                "Model": names.get(model, model),
                "Method": method,
                "Dataset": describe.get(dataset, dataset),
                "Device": ", ".join(sorted(jobs["device"].unique())),
                "Jobs": str(len(jobs)),
                "Hours": _number(jobs["seconds"].sum() / 3600),
                "Min/job": _number(jobs["seconds"].median() / 60),
                "GB device": _number(jobs["peak_device_gb"].max()),
                "GB host": _number(jobs["peak_host_gb"].max()),
                "kWh": _number(jobs["energy_kwh"].sum(min_count=1)),
                "Paper": gpus.get((model, method, dataset), "--"),
            }
        )
    headings = ("Model", "Method", "Dataset", "Device", "Jobs", "Hours", "Min/job")
    return pd.DataFrame(rows, columns=[*headings, "GB device", "GB host", "kWh", "Paper"])


def _number(value: float | None) -> str:
    return "--" if value is None or pd.isna(value) else f"{value:.3g}"
