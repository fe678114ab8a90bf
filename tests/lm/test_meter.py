"""What a job says of itself: on this machine, and on a GPU that is made up."""

from types import SimpleNamespace

import pynvml
import pytest
import torch

from modeledit.io.provenance import processor
from modeledit.lm import device
from modeledit.lm.meter import Meter

UUIDS = ("aa-11", "bb-22")


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Two GPUs as torch and the driver show them; the list says what was asked of them."""
    asked = []
    energy = iter([5_000_000, 5_000_000 + 7_200_000])  # mJ
    for name, answer in {
        "is_available": lambda: True,
        "device_count": lambda: len(UUIDS),
        "get_device_properties": lambda gpu: SimpleNamespace(
            uuid=UUIDS[getattr(gpu, "index", gpu)]
        ),
        "get_device_name": lambda gpu: f"GPU of {gpu}",
        "reset_peak_memory_stats": lambda gpu: asked.append(("reset", gpu)),
        "max_memory_allocated": lambda gpu: 3_500_000_000,
        "set_device": lambda gpu: asked.append(("set", gpu)),
    }.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    for name, answer in {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByUUID": lambda uuid: asked.append(("uuid", uuid)) or uuid,
        "nvmlDeviceGetTotalEnergyConsumption": lambda handle: next(energy),
    }.items():
        monkeypatch.setattr(pynvml, name, answer)
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    device._own_gpu.cache_clear()
    yield asked
    device._own_gpu.cache_clear()


def test_a_job_on_the_processor_has_no_gpu_to_tell_of():
    record = Meter("cpu").record()
    assert record.device == processor()
    assert 0 <= record.seconds < 60
    assert 0.05 < record.peak_host_gb < 500  # torch alone takes more than 50 MB
    assert record.peak_device_gb is record.energy_kwh is None


def test_memory_and_energy_are_those_of_the_gpu_that_the_job_is_on(gpus):
    record = Meter("cuda:1").record()
    assert record.device == "GPU of cuda:1"
    assert record.peak_device_gb == 3.5
    assert record.energy_kwh == pytest.approx(7200 / 3.6e6)  # J
    assert gpus == [("reset", torch.device("cuda:1"))] + [("uuid", "GPU-bb-22")] * 2


def test_a_card_that_does_not_count_its_energy_has_none(gpus, monkeypatch):
    def old_card(handle):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", old_card)
    record = Meter("cuda:0").record()
    assert record.energy_kwh is None and record.peak_device_gb == 3.5


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_job_takes_a_gpu_that_no_other_has_and_keeps_it(gpus, tmp_path, name):
    folder = tmp_path / f"modeledit-{device.os.getuid()}"
    assert device.claim([UUIDS[0], "another"], folder) == 0  # as another job on the first one
    threads = torch.get_num_threads()
    assert device.prepare_device(name, threads) == "cuda"
    assert device.prepare_device(name, threads) == "cuda"
    assert gpus == [("set", 1)] * 2
