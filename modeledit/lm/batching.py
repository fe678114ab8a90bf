"""Work that runs in batches under a token budget, and goes on with less when memory runs out."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch

log = logging.getLogger(__name__)
Result = TypeVar("Result")

# What errors other than torch's own OutOfMemoryError say when memory is short: the CPU allocator;
# CUDA itself, past torch's allocator; cuBLAS, cuSOLVER and cuDNN. Their handles are made outside of
# torch's allocator when they are first needed, and where that fails for want of memory they give
# any status, often NOT_INITIALIZED. Another cause of such a failure costs a few tries in vain: the
# last one's error is raised.
_OUT_OF_MEMORY = re.compile(
    r"allocate memory"
    r"|CUDA( driver)? error: out of memory"
    r"|CU[A-Z]+_STATUS_ALLOC_FAILED"
    r"|CU[A-Z]+_STATUS_[A-Z_]+,? when calling .cu(blas|blasLt|solverDn|dnn)Create\b"
)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that a device, or the host, had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))


def in_batches(
    items: Sequence[int],
    split: Callable[[Sequence[int], int], Iterable[list[int]]],
    run: Callable[[list[int]], Result],
    budget: int,
    spoiled: Callable[[Result], bool] = lambda result: False,
) -> Iterator[tuple[list[int], Result]]:
    """Yield (group, run(group)) for all `items`, grouped by `split(items, budget)`.

    When a group does not fit into memory, it and all that follow are split again under half the
    budget; what was done before stays. A single item that does not fit is an error. A group of
    several whose result is `spoiled` is run again in two halves: in one batch a row that is not a
    number spoils others, since attention multiplies what it masks by 0, not by nothing.
    """
    left = list(items)
    while left:
        groups = list(split(left, budget))
        left = []
        for number, group in enumerate(groups):
            try:
                result = run(group)
            except (RuntimeError, MemoryError) as error:
                if not ran_out_of_memory(error) or len(group) == 1 or budget <= 1:
                    raise
                left = [item for rest in groups[number:] for item in rest]
            if left:  # outside the handler: the error holds on to what the failed run allocated
                budget = max(1, budget // 2)
                log.warning("out of memory; going on with a token budget of %d", budget)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                break
            if len(group) > 1 and spoiled(result):
                for half in (group[: len(group) // 2], group[len(group) // 2 :]):
                    yield from in_batches(half, lambda some, _: [list(some)], run, budget, spoiled)
            else:
                yield group, result
