"""CUDA's rules about devices, kept on a machine that has no GPU.

Under `VirtualCuda` every tensor lives on the CPU and carries the device that it would be on. What
real CUDA refuses raises MixedDevices: operands on two devices, a CPU tensor indexed by a CUDA one,
`.numpy()` of a CUDA tensor, an assignment across devices, `out=` or a generator elsewhere. What it
allows passes: CPU scalars of no dimension among CUDA operands, copies, a CPU index into a CUDA
tensor (which waits for the device, and is counted). `torch.autocast("cuda")` computes in the CPU's
reduced precision; `torch.autocast("cpu")` does nothing to tensors on CUDA. In torch's deterministic
mode what has no deterministic form on CUDA raises NotDeterministic.

Not modelled: kernels, streams and memory; what a composite Python function of torch does inside;
what autograd does in C++. A few oddities that CUDA allows are refused (`index_put_` with indices
on the CPU, `broadcast_tensors` across devices).
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_leaves

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


class MixedDevices(RuntimeError):
    """What real CUDA would have refused because of where the tensors are."""


class NotDeterministic(RuntimeError):
    """What real CUDA would have refused in torch's deterministic mode."""


def place_of(tensor: Tensor) -> torch.device:
    """The device that `tensor` would be on."""
    return getattr(tensor, "_virtual_device", CPU)


def _put(tensor: Tensor, device: torch.device) -> Tensor:
    tensor._virtual_device = device
    return tensor


def _is_device(value: object) -> bool:
    """Whether an argument of `Tensor.to` names a device; a bare number is a CUDA device's."""
    return isinstance(value, str | torch.device) or type(value) is int


def _named(device: str | int | torch.device) -> torch.device:
    device = torch.device(device)
    return CUDA if device.type == "cuda" else device


def _tensors(value: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def _describe(function: Callable, operands: list[Tensor]) -> str:
    name = resolve_name(function) or getattr(function, "__name__", str(function))
    return f"{name}: " + ", ".join(f"{place_of(t)} {tuple(t.shape)}" for t in operands)


def _name(function: Callable) -> str:
    return getattr(function, "__name__", "")


# Where the result of an operation is

# A CPU tensor without dimensions may stand among CUDA operands, but not here.
NO_SCALARS = frozenset({"cat", "concat", "stack", "hstack", "vstack", "gather", "index_select"})
NO_SCALARS |= {"index_add", "index_add_", "index_copy", "index_copy_", "scatter", "scatter_"}
NO_SCALARS |= {"scatter_add", "scatter_add_", "embedding", "searchsorted", "isin", "bucketize"}
IN_PLACE = {f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "pow", "and", "or", "xor")}


def _written(function: Callable, args: tuple, kwargs: Mapping[str, Any]) -> list[Tensor]:
    """What an operation writes into: `out`, or the first argument of an in-place one."""
    name = _name(function)
    written = _tensors(kwargs.get("out"))
    if name in IN_PLACE or (name.endswith("_") and not name.endswith("__")):
        written += _tensors(args[:1])
    return written


def _common_device(
    function: Callable, operands: list[Tensor], written: list[Tensor]
) -> torch.device:
    """The one device that an operation runs on. Raises MixedDevices where there is none."""
    scalars = _name(function) not in NO_SCALARS
    places = {place_of(t) for t in operands if t.dim() or not scalars}
    if not places:
        places = {max((place_of(t) for t in operands), key=str, default=CPU)}  # "cuda" > "cpu"
    device = next(iter(places))
    on_cpu = device == CPU and any(place_of(t) == CUDA for t in operands)
    if len(places) > 1 or on_cpu or any(place_of(t) != device for t in written):
        raise MixedDevices(_describe(function, operands))
    return device


# Operations without a deterministic form on CUDA, of those that a language model might call, by
# the documentation of torch.use_deterministic_algorithms; and when that is so.
_ALWAYS: Callable[..., bool] = lambda *args, **kwargs: True  # noqa: E731
NO_DETERMINISTIC_FORM: dict[str, Callable[..., bool]] = {
    "bincount": lambda input, weights=None, minlength=0: weights is not None,
    "cross_entropy": _ALWAYS,
    "ctc_loss": _ALWAYS,
    "cumsum": lambda input, *args, **kwargs: input.is_floating_point(),
    "cumsum_": lambda input, *args, **kwargs: input.is_floating_point(),
    "embedding_bag": lambda *args, mode="mean", **kwargs: mode == "max",
    "grid_sample": _ALWAYS,
    "histc": _ALWAYS,
    "interpolate": _ALWAYS,
    "median": lambda input, *args, **kwargs: bool(args or kwargs),
    "nanmedian": lambda input, *args, **kwargs: bool(args or kwargs),
    "nll_loss": _ALWAYS,
    "put_": _ALWAYS,
}


def _compute(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> object:
    """Any operation without a rule of its own: operands on one device, and so is the result."""
    operands = _tensors((args, kwargs))
    device = _common_device(function, operands, _written(function, args, kwargs))
    if kwargs.get("device") is not None:  # zeros, empty_like, new_full, ...
        device = _named(kwargs["device"])
        kwargs["device"] = CPU if device == CUDA else device
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type != device.type:
        raise MixedDevices(f"{_name(function)}: a {generator.device} generator for {device}")
    if device == CUDA and torch.are_deterministic_algorithms_enabled():
        if NO_DETERMINISTIC_FORM.get(_name(function), lambda *a, **k: False)(*args, **kwargs):
            raise NotDeterministic(_describe(function, operands))
    result = function(*args, **kwargs)
    given = {id(t) for t in operands}  # in-place operations, and those with nothing to do
    for tensor in _tensors(result):
        if id(tensor) not in given:
            _put(tensor, device)
    return result


# Moving


def _moved(result: Tensor, source: Tensor, device: torch.device) -> Tensor:
    """`result` of a conversion of `source`, on `device`; real devices share no memory."""
    if result is source and device == place_of(source):
        return result
    return _put(result.clone() if device != place_of(source) else result, device)


def _to(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> Tensor:
    source, *rest = args
    device = place_of(source)
    for value in [*rest, kwargs.get("device"), kwargs.get("other")]:
        if isinstance(value, Tensor):
            device = place_of(value)
        elif _is_device(value):
            device = _named(value)
    real = CPU if device == CUDA else device
    rest = [real if _is_device(value) else value for value in rest]
    if kwargs.get("device") is not None:
        kwargs["device"] = real
    return _moved(function(source, *rest, **kwargs), source, device)


def _cpu(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> Tensor:
    return _moved(args[0], args[0], CPU)


def _cuda(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> Tensor:
    return _moved(args[0], args[0], CUDA)


def _type_as(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> Tensor:
    return _moved(function(*args, **kwargs), args[0], place_of(args[1]))


def _from_data(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> Tensor:
    """torch.tensor and torch.as_tensor: a tensor's own device, else the CPU, or the one asked."""
    data = args[0]
    device = before = place_of(data)  # of anything but a tensor: the CPU
    if kwargs.get("device") is not None:
        device = _named(kwargs["device"])
        kwargs["device"] = CPU if device == CUDA else device
    result = function(*args, **kwargs)
    if result is data and device == before:
        return result
    return _put(result.clone() if device != before else result, device)


def _numpy(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> np.ndarray:
    """numpy() and __array__: of CPU tensors only, unless `force` moves them."""
    forced = _name(function) == "numpy" and (kwargs.get("force") or any(args[1:]))
    if place_of(args[0]) == CUDA and not forced:
        raise MixedDevices(_describe(function, list(args[:1])))
    return function(*args, **kwargs)


def _set_data(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> None:
    """`tensor.data = other`, with which nn.Module.to moves parameters."""
    tensor, other = args
    function(tensor, other)
    _put(tensor, place_of(other))


def _anywhere(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> object:
    """copy_ and questions about types and shapes: any two devices will do."""
    return function(*args, **kwargs)


def _as_first(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> Tensor:
    """expand_as and the like, which read only the shape of their second argument."""
    result = function(*args, **kwargs)
    return result if result is args[0] else _put(result, place_of(args[0]))


# Indexing


def _indices(index: object) -> list[object]:
    """The parts of an index that gather rather than slice; a whole number without dimensions, even
    as a tensor, is one position."""
    parts = list(index) if isinstance(index, tuple) else [index]
    gathering = []
    for part in parts:
        if isinstance(part, Tensor):
            if part.dim() or part.dtype == torch.bool:
                gathering.append(part)
        elif isinstance(part, list | range | np.ndarray | bool):
            gathering.append(part)
    return gathering


def _check_index(mode: "VirtualCuda", function: Callable, tensor: Tensor, index: object) -> None:
    for part in _tensors(_indices(index)):
        if place_of(part) == CUDA and place_of(tensor) == CPU:
            raise MixedDevices(_describe(function, [tensor, part]))
        mode.waits += place_of(part) != place_of(tensor)


def _get_item(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> Tensor:
    tensor, index = args
    _check_index(mode, function, tensor, index)
    result = function(tensor, index)
    return result if result is tensor else _put(result, place_of(tensor))


def _set_item(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> None:
    """A slice is copied into, from anywhere; gathered places take values of their own device."""
    tensor, index, value = args
    _check_index(mode, function, tensor, index)
    if isinstance(value, Tensor) and value.dim() and place_of(value) != place_of(tensor):
        if _indices(index):
            raise MixedDevices(_describe(function, [tensor, value]))
    function(tensor, index, value)


# Properties


def _device(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> torch.device:
    real = function(args[0])
    return place_of(args[0]) if real == CPU else real  # transformers loads by way of "meta"


def _is_cuda(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> bool:
    return place_of(args[0]) == CUDA


def _is_cpu(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> bool:
    return place_of(args[0]) == CPU and function(args[0])


def _get_device(mode: "VirtualCuda", function: Callable, args: tuple, kwargs: dict) -> int:
    return 0 if place_of(args[0]) == CUDA else -1


Rule = Callable[["VirtualCuda", Callable, tuple, dict], object]
RULES: dict[Callable, Rule] = {
    Tensor.device.__get__: _device,
    Tensor.is_cuda.__get__: _is_cuda,
    Tensor.is_cpu.__get__: _is_cpu,
    Tensor.get_device: _get_device,
    Tensor.to: _to,
    Tensor.cpu: _cpu,
    Tensor.cuda: _cuda,
    Tensor.type_as: _type_as,
    Tensor.numpy: _numpy,
    Tensor.__array__: _numpy,
    Tensor.data.__set__: _set_data,
    Tensor.copy_: _anywhere,
    Tensor.backward: _anywhere,
    torch.result_type: _anywhere,
    torch._has_compatible_shallow_copy_type: _anywhere,
    Tensor.expand_as: _as_first,
    Tensor.view_as: _as_first,
    Tensor.reshape_as: _as_first,
    Tensor.__getitem__: _get_item,
    Tensor.__setitem__: _set_item,
    torch.tensor: _from_data,
    torch.as_tensor: _from_data,
}


class VirtualCuda(TorchFunctionMode):
    """While it is entered, "cuda" is a device, by the rules in the module's docstring.

    `waits` counts CUDA tensors indexed by CPU ones, for which a real device is waited for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def __torch_function__(
        self, function: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        return RULES.get(function, _compute)(self, function, args, dict(kwargs or {}))

    def __enter__(self) -> "VirtualCuda":
        self._patches = ExitStack()
        autocast, enabled = torch.autocast, torch.is_autocast_enabled

        def virtual_autocast(
            device_type: str, dtype: torch.dtype | None = None, **options: Any
        ) -> AbstractContextManager:
            if device_type == "cpu":  # what is on CUDA does not notice
                return nullcontext()
            return autocast("cpu", dtype or torch.float16, **options)

        def get_state(device: object = None) -> Tensor:
            return torch.get_rng_state()

        def set_state(state: Tensor, device: object = None) -> None:
            torch.set_rng_state(state)

        for place, name, replacement in (
            (torch, "autocast", virtual_autocast),
            (
                torch,
                "is_autocast_enabled",
                lambda device="cuda": device != "cpu" and enabled("cpu"),
            ),
            (torch.cuda, "get_rng_state", get_state),
            (torch.cuda, "set_rng_state", set_state),
        ):
            self._patches.enter_context(mock.patch.object(place, name, replacement))
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._patches.close()
