"""Peak memory of an entry's work: what it takes to run the model, as the run itself sees it."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipeline.results.rows import ALLOCATOR, LIFETIME, PROCESS

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): resets VmHWM to the resident set size


class PeakMemory:
    """The most memory in use at once, counted from when a model is about to be loaded.

    On CUDA it is `torch.cuda.max_memory_allocated`: all tensors of this process on the device, the model's, its activations', and those of
    the study's scorers and tools too; not what the allocator reserves beyond them, nor the CUDA context. Elsewhere it is the peak
    resident set of the whole process: Python, its libraries, the scorers, and what an earlier model of this process left behind.
    Linux can begin anew for each model, where a process may write to /proc/self/clear_refs; other systems count since the process began, so that
    an entry's peak may be that of an earlier one. Nothing that is computed depends on it.

    Args:
        device: where the model runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0  # what was reached before the count began anew
        gc.collect()  # pipelines have cycles, which would count as the next entry's
        if device.type != "cuda":
            _give_back()
        self.kind = self._begin()

    def columns(self) -> dict[str, Any]:
        """The peak up to now in bytes, and its kind, as columns of a sample's row."""
        return {"peak_memory": self._bytes(), "memory_kind": self.kind}

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """What is tried inside does not count, such as batches that are too large; it does where the peak cannot be reset."""
        before = self._bytes()
        try:
            yield
        finally:
            if self.kind != LIFETIME:
                self._begin()
                self._before = before

    def _begin(self) -> str:
        """Counts anew, where that is possible. Returns the kind."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return ALLOCATOR
        return PROCESS if _reset_resident() else LIFETIME

    def _bytes(self) -> int:
        if self.kind == ALLOCATOR:
            return max(self._before, int(torch.cuda.max_memory_allocated(self._device)))
        return max(self._before, _peak_resident())


def _give_back() -> None:
    """Returns freed memory to the system, where glibc is there: 0.1 of 1.2 GB that an earlier entry left (bundled models, 2 cores)."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return


def _reset_resident() -> bool:
    """Begins the count of resident memory anew. Returns whether that was allowed."""
    try:
        RESET.write_text(RESET_PEAK)
        return STATUS.is_file()
    except OSError:
        return False


def _peak_resident() -> int:
    """Bytes. `ru_maxrss` would count what the parent held when it started this process, and cannot be reset."""
    try:
        return int(STATUS.read_text().split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        scale = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others KiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
