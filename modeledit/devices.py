"""Which device a job computes on, with how many threads, and how precisely."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def prepare_device(name: str, threads: int) -> str:
    """Set the number of CPU threads and turn "auto" into "cuda" where one is usable, else "cpu".

    Raises ValueError when "cuda" is asked for and torch sees none.
    """
    torch.set_num_threads(threads)
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "compute.device = 'cuda': torch sees no CUDA device; allowed here: cpu, auto"
        )
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


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
