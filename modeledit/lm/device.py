"""Which device a job computes on, with how many threads, and how precisely."""

import fcntl
import functools
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from modeledit.io.refusal import Refusal

log = logging.getLogger(__name__)
LOOK_AGAIN = 1.0  # seconds


def prepare_device(name: str, threads: int, deterministic: bool = False) -> str:
    """Set the number of CPU threads and turn "auto" into "cuda" where one is usable, else "cpu".

    "cuda" then means the GPU that this process has claimed among those that are visible
    (CUDA_VISIBLE_DEVICES narrows them). With `deterministic` torch takes the algorithms that give
    the same bits every time on the same device, some of them slower, and refuses an operation that
    has none. (cuBLAS needs no CUBLAS_WORKSPACE_CONFIG for that: the pinned torch gives it
    workspaces of its own.) Raises Refusal when "cuda" is asked for and torch sees none.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    if name == "cuda" and not torch.cuda.is_available():
        raise Refusal("compute.device = 'cuda': torch sees no CUDA device; allowed here: cpu, auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        torch.cuda.set_device(_own_gpu())
    return name


@functools.cache  # a process keeps the GPU that it has
def _own_gpu() -> int:
    count = torch.cuda.device_count()
    names = [str(torch.cuda.get_device_properties(gpu).uuid) for gpu in range(count)]
    gpu = claim(names, Path(tempfile.gettempdir()) / f"modeledit-{os.getuid()}")
    log.info("GPU %d of the %d visible ones, %s", gpu, count, names[gpu])
    return gpu


def claim(devices: Sequence[str], folder: Path) -> int:
    """Position of the first of `devices` that no process has claimed, claimed from now on.

    `devices` are names that mean the same in all processes. A claim is an advisory lock on the
    file of that name in `folder`, and ends with the process, however that ends. While all are
    claimed, looks again every LOOK_AGAIN seconds. A single device leaves no choice and is shared.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    waiting = False
    while True:
        for position, device in enumerate(devices):
            handle = os.open(folder / device, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return position  # with the file left open: closing it would end the claim
            except BlockingIOError:
                os.close(handle)
        if len(devices) == 1:
            return 0
        if not waiting:
            log.info("all %d GPUs are taken by other jobs (%s); waiting", len(devices), folder)
            waiting = True
        time.sleep(LOOK_AGAIN)


@contextmanager
def matrix_precision(name: str, device: str) -> Iterator[None]:
    """Matrix products in "float32", "tf32" (float32 on a CPU) or, by autocast, "bf16"."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    try:
        with torch.autocast(device, torch.bfloat16, enabled=name == "bf16"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
