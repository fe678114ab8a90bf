"""A job measures itself: device, wall time, peak memory, energy (paper, appendix C).

Only what it measures needs torch, and imports it when it is used.
"""

import resource
import sys
import time
from typing import TYPE_CHECKING

from modeledit.io.hardware import Hardware
from modeledit.io.provenance import processor

if TYPE_CHECKING:
    import torch


class Meter:
    """Measures from its making on: wall time, peak memory, and energy where the driver tells."""

    def __init__(self, device: "str | torch.device"):
        import torch

        self.device = torch.device(device)
        self._start = time.monotonic()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self._joules = joules(self.device)

    def record(self) -> Hardware:
        """What was used since the making."""
        peak = None
        if self.device.type == "cuda":
            import torch

            peak = torch.cuda.max_memory_allocated(self.device) / 1e9
        used = joules(self.device)
        energy = None if used is None or self._joules is None else (used - self._joules) / 3.6e6
        # macOS counts bytes, Linux kilobytes.
        host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Hardware(
            device=device_name(self.device),
            seconds=round(time.monotonic() - self._start, 2),
            peak_device_gb=peak,
            peak_host_gb=host / (1e9 if sys.platform == "darwin" else 1e6),
            energy_kwh=energy,
        )


def device_name(device: "torch.device") -> str:
    """What the device is called: a GPU's name, or the processor's."""
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return processor()


def joules(device: "torch.device") -> float | None:
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
