"""Between an accelerator and the host, without a wait at every step.

The host asks for work far ahead of what an accelerator has done. Each number that it reads in between makes it wait until the
accelerator is where it is, and then the accelerator waits for the host. So what is recorded of a step stays where it is, or is
copied beside the work that follows, and is read after the last step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

CPU = torch.device("cpu")
# MPS has no pinned memory: an asynchronous copy could be read before it has come.
BLOCKING = frozenset({"mps"})


class HostCopy:
    """A tensor on its way to the host, into pinned memory on CUDA; nothing waits for it until it is asked for."""

    def __init__(self, tensor: Tensor) -> None:
        blocking = tensor.device.type in BLOCKING
        self._values = tensor.detach().to(CPU, non_blocking=not blocking)
        self._done: Any = None
        if tensor.is_cuda:
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(tensor.device))

    def values(self) -> Tensor:
        """The tensor, once it has come; may be called by another thread than the one that runs the model."""
        if self._done is not None:
            self._done.synchronize()
        return self._values


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same tensors on the host, by one copy for those of a type and device."""
    groups: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for position, tensor in enumerate(tensors):
        if tensor.device != CPU:
            groups.setdefault((tensor.device, tensor.dtype), []).append(position)
    host = list(tensors)
    for positions in groups.values():
        members = [tensors[position] for position in positions]
        joined = torch.cat([member.flatten() for member in members]).cpu()
        parts = joined.split([member.numel() for member in members])
        for position, member, part in zip(positions, members, parts, strict=True):
            host[position] = part.view(member.shape)
    return host


@lru_cache(maxsize=256)
def index_of(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    """Numbers as an index on a device; copied there once, and not again at every step."""
    with torch.inference_mode(False):  # what is made in that mode could not be used with gradients
        return torch.tensor(numbers, dtype=torch.long).to(device)


class HostTables:
    """The host's copies of a scheduler's tables, such as `timesteps` and `sigmas`: each is copied once a run."""

    def __init__(self) -> None:
        self._tables: dict[str, tuple[Tensor, int, Tensor]] = {}

    def of(self, scheduler: Any) -> dict[str, Tensor]:
        """Name -> copy of every table that is on an accelerator; empty on a CPU."""
        tables = {
            name: value
            for name, value in vars(scheduler).items()
            if isinstance(value, Tensor) and value.ndim == 1 and value.device != CPU
        }
        changed = {name: table for name, table in tables.items() if not self._has(name, table)}
        for (name, table), copied in zip(
            changed.items(), to_host([*changed.values()]), strict=True
        ):
            self._tables[name] = (table, _version(table), copied)
        return {name: self._tables[name][2] for name in tables}

    def _has(self, name: str, table: Tensor) -> bool:
        known = self._tables.get(name)
        return known is not None and known[0] is table and known[1] == _version(table)


def _version(table: Tensor) -> int:
    """How often a table was changed; what is made in inference mode does not count that."""
    return 0 if table.is_inference() else table._version


def entry_of(value: Any, table: Tensor | None, copied: Tensor | None) -> Any:
    """A number of a table on an accelerator, as the host's copy of the table has it; what is no such number stays as it is.

    Args:
        value: perhaps a view of one number of the table, as a loop over it gives.
        table: on the accelerator.
        copied: the same on the host.
    """
    if not isinstance(value, Tensor) or table is None or copied is None or value.ndim > 0:
        return value
    root = table if table._base is None else table._base
    if value._base is not root or table.stride() != (1,):
        return value
    position = value.storage_offset() - table.storage_offset()
    return copied[position] if 0 <= position < len(copied) else value
