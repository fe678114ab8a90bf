"""Products with frozen weights on a CPU, by oneDNN in both directions.

On a CPU torch hands float32 products to MKL, whose kernels for processors that are not Intel's
reach half of what these can do (measured: docs/benchmarks.md). oneDNN is part of torch too and
has kernels for all of them, but torch calls it of itself for lower precisions only. The numbers are
the same to rounding. Anything else - a GPU, float64, autocast, weights that are trained, a torch
without oneDNN - takes torch's own way.
"""

from types import MethodType
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

_HERE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """x W^T + b by oneDNN, without a gradient; `x` (..., inner), `weight` (outer, inner)."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def fits(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether `product` can multiply these."""
    return (
        _HERE
        and x.dtype is weight.dtype is torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


class _Frozen(torch.autograd.Function):
    """`product` with a gradient to x alone."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore
        (weight,) = ctx.saved_tensors
        return product(gradient, weight.T), None, None


def _linear(module: nn.Linear | Conv1D, x: torch.Tensor) -> torch.Tensor:
    """The forward pass of a layer."""
    weight = module.weight.T if isinstance(module, Conv1D) else module.weight
    if not fits(x, weight) or weight.requires_grad:
        own = nn.Linear.forward if isinstance(module, nn.Linear) else Conv1D.forward
        return own(cast(Any, module), x)
    return _Frozen.apply(x, weight, module.bias)


def gram(x: torch.Tensor) -> torch.Tensor:
    """X^T X, (width, width), of `x` (rows, width)."""
    return product(x.T, x.T) if fits(x, x) else x.T @ x


def by_onednn(model: PreTrainedModel) -> None:
    """Have the linear layers of `model` multiply by oneDNN where they can."""
    for module in model.modules():
        if type(module).forward in (nn.Linear.forward, Conv1D.forward):
            module.forward = MethodType(_linear, module)
