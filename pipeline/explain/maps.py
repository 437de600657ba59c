"""What all saliency maps share: scaling to [0, 1], one grid, and the bytes they are stored as."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from pipeline.models.transfers import HostCopy


def scale_map(values: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Each map min-max scaled to [0, 1]; a constant or non-finite map becomes 0."""
    low, high = values.amin((-2, -1), keepdim=True), values.amax((-2, -1), keepdim=True)
    scaled = (values - low) / (high - low)
    return torch.where(((high - low) > 0) & torch.isfinite(high - low), scaled, 0.0)


def resize_map(values: Float[Tensor, "*b h w"], size: tuple[int, int]) -> Float[Tensor, "*b h2 w2"]:
    """Each map on another grid: bilinear, averaging when it shrinks."""
    if tuple(values.shape[-2:]) == tuple(size):
        return values
    flat = values.reshape(-1, 1, *values.shape[-2:]).float()
    shrinks = size[0] < values.shape[-2]
    brought = F.interpolate(flat, size, mode="bilinear", align_corners=False, antialias=shrinks)
    return brought.reshape(*values.shape[:-2], *size)


def map_record(step: int, method: str, word: str, values: Float[Tensor, "h w"]) -> dict:
    """A map as a row of the shard's `explanations`: float16, row-major, scaled; its range beside it."""
    (record,) = MapRecords(step, method, (word,), values[None]).rows()
    return record


class MapRecords:
    """Maps of one step on their way to the host, as bytes; `rows` waits for them."""

    def __init__(
        self, step: int, method: str, words: Sequence[str], maps: Float[Tensor, "word h w"]
    ) -> None:
        self._step, self._method, self._words = step, method, words
        self._scaled = HostCopy(scale_map(maps.float()).half())
        self._ranges = HostCopy(torch.stack([maps.amin((1, 2)), maps.amax((1, 2))], 1).double())

    def rows(self) -> list[dict]:
        """Rows of the shard's `explanations`, as `map_record` has them."""
        scaled, ranges = self._scaled.values(), self._ranges.values().tolist()
        return [
            {
                "step": self._step,
                "method": self._method,
                "word": word,
                "height": values.shape[0],
                "width": values.shape[1],
                "low": low,
                "high": high,
                "map": values.numpy().tobytes(),
            }
            for word, values, (low, high) in zip(self._words, scaled, ranges, strict=True)
        ]


def random_map(height: int, width: int, seed: int) -> Float[Tensor, "h w"]:
    """A map that knows nothing: uniform noise from a seed."""
    return torch.rand(height, width, generator=torch.Generator().manual_seed(seed))


def chunk_size(floats_per_item: int, wanted: int, share: float = 0.25) -> int:
    """How many items at a time keep a working set within a share of the memory that is free now.

    Args:
        floats_per_item: float32 numbers that one item needs at once.
        wanted: the most that is of use.
    """
    import psutil

    free = psutil.virtual_memory().available
    if torch.cuda.is_available():
        free = min(free, torch.cuda.mem_get_info()[0])
    return max(1, min(wanted, int(free * share) // max(1, 4 * floats_per_item)))
