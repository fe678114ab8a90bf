"""Which device a job computes on, and with how many threads."""

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
