"""How many tokens may run through a model at once, where that is left to the job ("auto").

What a job will hold is known from shapes (`study.memory`), what is free from the device. The answer
is a power of two below what fits, so that a little more or less of free memory changes nothing.
"""

import logging
import resource

import psutil
import torch

from modeledit.lm.model import EditableModel
from modeledit.study.memory import fitting_budget, parameters
from modeledit.study.settings import AUTO_BUDGET, SMALLEST_BUDGET, TokenBudget

log = logging.getLogger(__name__)
SHARE = 0.85  # of free memory: the rest is for what allocators lose in pieces


def free_memory(device: torch.device) -> float:
    """Bytes that this process may still allocate on a device."""
    if device.type == "cuda":
        ours = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + ours
    free = float(psutil.virtual_memory().available)
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        free = min(free, limit - psutil.Process().memory_info().vms)
    return free


def token_budget(
    asked: TokenBudget, model: EditableModel, requests: int = 0, contexts: int = 1
) -> int:
    """`asked`, or where that is "auto" as many tokens as fit beside the loaded `model`.

    `requests` are edited with `contexts` each; without any, prompts are only scored. Where memory
    runs out all the same, the work goes on with less (`batching`).
    """
    if asked != "auto":
        return asked
    free = free_memory(model.device)
    loaded = sum(p.numel() for p in model.model.parameters()) * model.dtype.itemsize
    # The estimate of a job holds the model, which is there already.
    room = SHARE * free + max(loaded, 4 * parameters(model))
    most = AUTO_BUDGET[model.device.type]
    budget = fitting_budget(model, room, most, max(requests, 1), contexts) or SMALLEST_BUDGET
    log.info("token budget %d: %.1f GB are free on %s", budget, free / 1e9, model.device)
    return budget
