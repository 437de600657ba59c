"""A stand-in for an accelerator on a CPU, which counts the calls at which a host would wait for a real one.

Tensors say that they are on another device and hold their values in a tensor of the CPU; every operation on them is computed
there. They are a device of their own to PyTorch, so what waits on CUDA has to ask here too: `.item()` and `float()` end in
`aten::_local_scalar_dense`, `.cpu()` and `.to("cpu")` in `aten::_to_copy`, a boolean mask as an index in `aten::index`, and
`.numpy()` raises.

It proves which calls a program makes, not how long they take: no kernel runs, and copies that are asked for as asynchronous are
done at once and counted apart. What a kernel of CUDA does inside (a workspace that is allocated, a library that waits) is not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "standin"
CPU = torch.device("cpu")
aten = torch.ops.aten

SCALAR = "a number read by the host"
TO_HOST = "a copy to the host"
SHAPE = "a shape that depends on values"
TO_DEVICE = "a copy to the device"
LATER = "an asynchronous copy to the host"
WAITS = (SCALAR, TO_HOST, SHAPE, TO_DEVICE)

_SCALARS = {aten._local_scalar_dense, aten.equal, aten.is_nonzero, aten.item}
_SHAPES = {
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.repeat_interleave,
}
_INDEXED = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}


class OnDevice(Tensor):
    """A tensor that says that it is on the stand-in; `numbers` are on the CPU."""

    numbers: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> OnDevice:
        """Takes shape, strides and type from the values."""
        tensor = Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=torch.device(NAME, 0),
            requires_grad=False,
        )
        tensor.numbers = values
        return tensor

    @classmethod
    def __torch_dispatch__(  # type: ignore[override] # torch's own annotation has neither cls nor func
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Outside of the stand-in's mode, nothing is counted."""
        return compute(func, args, kwargs or {})

    def __getitem__(self, index: Any) -> Tensor:
        """A list as an index is copied to the device first, as CUDA's own indexing does it."""
        return super().__getitem__(_on_device(index, self.device))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_on_device(index, self.device), value)

    def tolist(self) -> Any:
        """As a tensor of an accelerator does it: by a copy."""
        return self.cpu().tolist()


def _on_device(index: Any, device: torch.device) -> Any:
    if isinstance(index, tuple):
        return tuple(_on_device(part, device) for part in index)
    if isinstance(index, list):
        index = torch.tensor(index)
    return index.to(device) if isinstance(index, Tensor) and index.ndim else index


def compute(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operation on the CPU; its tensors are on the stand-in if an argument was, or if it asks for that."""
    flat = pytree.tree_leaves((args, kwargs))
    moved = kwargs.get("device")
    there = any(isinstance(value, OnDevice) for value in flat)
    if moved is not None:
        there = torch.device(moved).type == NAME
        kwargs = {**kwargs, "device": CPU}
    bare_args, bare_kwargs = pytree.tree_map_only(OnDevice, _values, (args, kwargs))
    bare_kwargs.pop("pin_memory", None)
    result = func(*bare_args, **bare_kwargs)
    changed = _changed(func, args, kwargs)
    if changed is not None:
        return changed
    if moved is not None and not there and _is_copy(func):  # another device: another tensor
        return result.clone() if result is bare_args[0] else result
    return pytree.tree_map_only(Tensor, OnDevice, result) if there else result


def _values(tensor: OnDevice) -> Tensor:
    return tensor.numbers


def _is_copy(func: Any) -> bool:
    return func.overloadpacket is aten._to_copy


def _changed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The argument that an operation changes and returns; None for one that returns something new."""
    if len(func._schema.returns) != 1:
        return None
    named = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
    for argument in func._schema.arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            return named.get(argument.name)
    return None


class Accelerator(TorchDispatchMode):
    """The stand-in, while it is entered: `counts` says how often the host would have waited, and why, while `counting`."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.counting = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Counts an operation and computes it."""
        kwargs = kwargs or {}
        kind = kind_of(func, args, kwargs) if self.counting else None
        if kind is not None:
            self.counts[kind] += 1
        return compute(func, args, kwargs)


def kind_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Why the host waits for the device in an operation; None where it does not."""
    packet = func.overloadpacket
    if packet is aten._to_copy or packet is aten.copy_:
        return _kind_of_copy(packet, args, kwargs)
    if not any(isinstance(value, OnDevice) for value in pytree.tree_leaves((args, kwargs))):
        return None
    if packet in _SCALARS:
        return SCALAR
    if packet in _SHAPES:
        return SHAPE
    if packet in _INDEXED:
        masks = (torch.bool, torch.uint8)
        if any(isinstance(index, Tensor) and index.dtype in masks for index in args[1]):
            return SHAPE
    return None


def _kind_of_copy(packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    if packet is aten.copy_:
        source, target = isinstance(args[1], OnDevice), isinstance(args[0], OnDevice)
        later = kwargs.get("non_blocking", args[2] if len(args) > 2 else False)
    else:
        source, later = isinstance(args[0], OnDevice), kwargs.get("non_blocking", False)
        moved = kwargs.get("device")
        target = source if moved is None else torch.device(moved).type == NAME
    if source and not target:
        return LATER if later else TO_HOST
    return TO_DEVICE if target and not source and not later else None


def register() -> torch.device:
    """Makes the stand-in known to PyTorch, for good: in a process of its own. Returns the device."""
    _setup_privateuseone_for_python_backend(NAME)
    return torch.device(NAME, 0)


def move(module: nn.Module) -> None:
    """Moves a module's parameters and buffers to the stand-in."""
    for part in module.modules():
        for name, parameter in list(part._parameters.items()):
            if parameter is not None:
                values = OnDevice(parameter.detach())
                part._parameters[name] = nn.Parameter(values, requires_grad=False)
        for name, buffer in list(part._buffers.items()):
            if buffer is not None:
                part._buffers[name] = OnDevice(buffer)


@contextmanager
def counted(accelerator: Accelerator) -> Iterator[None]:
    """Counts inside the block."""
    before, accelerator.counting = accelerator.counting, True
    try:
        yield
    finally:
        accelerator.counting = before
