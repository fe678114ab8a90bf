"""What a job ran on and took: hardware.json beside an iteration's results."""

from dataclasses import asdict, dataclass
from pathlib import Path

from modeledit.io.files import check_fields, read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Name of the device, wall time in s, peak memory in GB (10^9 bytes), energy in kWh.

    None where nothing tells: memory of a device that is the processor, energy without a counter.
    """

    device: str
    seconds: float
    peak_device_gb: float | None
    peak_host_gb: float
    energy_kwh: float | None


def write_hardware(path: Path, used: Hardware | None) -> None:
    """Write a hardware.json, atomically; None for a job that only passed a stop on."""
    write_json(path, {} if used is None else asdict(used))


def read_hardware(path: Path) -> Hardware | None:
    """Read a hardware.json; StateError that names the file and what it has to say."""
    found = read_json(path)
    if found == {}:
        return None
    check_fields(path, found, Hardware, "what a job ran on")
    return Hardware(**found)
