"""What jobs ran on: device, wall time, peak memory, energy; and Table 5 (paper, appendix C).

A job measures itself with a `Meter`. Only that part needs torch, and imports it when it is used.
"""

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from modeledit.files import read_json
from modeledit.provenance import processor

if TYPE_CHECKING:
    import torch

COLUMNS = (
    "dataset",
    "model",
    "method",
    "trial",
    "k",
    "device",
    "seconds",
    "peak_device_gb",
    "peak_host_gb",
    "energy_kwh",
)


class Meter:
    """Measures from its making on: wall time, peak memory, and energy where the driver tells."""

    def __init__(self, device: "str | torch.device"):
        import torch

        self.device = torch.device(device)
        self._start = time.monotonic()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._joules = _joules(self.device)

    def record(self) -> dict[str, Any]:
        """Device name, seconds, peak memory in GB (10^9 bytes), energy in kWh; None: not known."""
        peak = None
        if self.device.type == "cuda":
            import torch

            peak = torch.cuda.max_memory_allocated(self.device) / 1e9
        used = _joules(self.device)
        energy = None if used is None or self._joules is None else (used - self._joules) / 3.6e6
        # macOS counts bytes, Linux kilobytes.
        host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "device": device_name(self.device),
            "seconds": round(time.monotonic() - self._start, 2),
            "peak_device_gb": peak,
            "peak_host_gb": host / (1e9 if sys.platform == "darwin" else 1e6),
            "energy_kwh": energy,
        }


def device_name(device: "torch.device") -> str:
    """What the device is called: a GPU's name, or the processor's."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return processor()


def _joules(device: "torch.device") -> float | None:
    """The device's energy counter, or None where there is none."""
    if device.type != "cuda":
        return None
    import pynvml
    import torch

    try:
        pynvml.nvmlInit()
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
    except pynvml.NVMLError:  # older cards do not count
        return None


def gather(paths: Sequence[str | Path]) -> pd.DataFrame:
    """One row per iteration that edited, from `…/{dataset}/{model}/{method}/trial{t}/iter{k}/`.

    Iterations that only passed a stop on ran nowhere and are left out.
    """
    rows = []
    for path in map(Path, paths):
        used = read_json(path)
        if not used:
            continue
        dataset, model, method, trial, k = path.parts[-6:-1]
        run = dict(zip(COLUMNS[:3], (dataset, model, method), strict=True))
        run |= {"trial": int(trial.removeprefix("trial")), "k": int(k.removeprefix("iter"))}
        rows.append(run | used)
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
    for (model, method, dataset), jobs in hardware.groupby(
        ["model", "method", "dataset"], sort=False
    ):
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
