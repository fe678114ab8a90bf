"""Forward hooks that read a module's input or output, whether it returns a tensor or a tuple."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def first_tensor(output: torch.Tensor | tuple) -> torch.Tensor:
    """The tensor itself, or the first element of a tuple (older transformers blocks)."""
    return output[0] if isinstance(output, tuple) else output


@contextmanager
def record(module: nn.Module, what: str) -> Iterator[list[torch.Tensor]]:
    """Record the `what` ("input" or "output") tensor of every call of `module`, in call order.

    Outputs are copies: some blocks add to them in place (Falcon's to its MLP's).
    """
    seen: list[torch.Tensor] = []

    def hook(_module: nn.Module, inputs: tuple, output: torch.Tensor | tuple) -> None:
        seen.append(inputs[0] if what == "input" else first_tensor(output).clone())

    handle = module.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


class _Left(Exception):
    """Raised inside a forward pass to leave it once all that is wanted has been seen."""


@contextmanager
def leave_before(module: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Record `module`'s input and end the forward pass there, without running the module."""
    seen: list[torch.Tensor] = []

    def hook(_module: nn.Module, inputs: tuple) -> None:
        seen.append(inputs[0])
        raise _Left

    handle = module.register_forward_pre_hook(hook)
    try:
        yield seen
    except _Left:
        pass
    finally:
        handle.remove()
