"""The key `cache` of a model entry: a method of diffusers that skips a part of the denoiser where it hardly changes."""

from collections.abc import Mapping

from pipeline.study.settings import Table, show
from pipeline.study.spec import CacheSpec

METHODS: Mapping[str, tuple[str, ...]] = {
    "first-block": ("threshold",),
    "pyramid-attention": ("every", "timesteps"),
    "faster-cache": ("every", "timesteps"),
}
"""The methods, and the keys that each has."""
TIMESTEPS = {"pyramid-attention": (100, 800), "faster-cache": (0, 681)}
"""Between which each takes over, unless an entry says otherwise."""
MAX_TIMESTEPS = {"pyramid-attention": 100_000, "faster-cache": 1000}
"""FasterCache must have computed a step before it takes over, so that the noisiest, at 1000, is left out."""


def take_cache(table: Table) -> CacheSpec | None:
    """The cache of a model entry; None where it has none.

    Raises:
        StudyError: the method is not known, or a key is not one of its own or out of range.
    """
    if not table.has("cache"):
        return None
    cache = table.take_table("cache")
    method = cache.take_choice("method", tuple(METHODS))
    for other, keys in METHODS.items():
        for key in keys:
            if cache.has(key) and key not in METHODS[method]:
                raise cache.fail(key, f"is a key of {show(other)}, not of {show(method)}. Allowed: {', '.join(METHODS[method])}.")  # fmt: skip
    if method == "first-block":
        spec = CacheSpec(method, threshold=cache.take_number("threshold", 0.05, 0.0, 10.0))
    else:
        every = cache.take_whole("every", 2, 2, 1000)
        spec = CacheSpec(method, every=every, timesteps=_timesteps(cache, method))
    cache.finish()
    return spec


def _timesteps(table: Table, method: str) -> tuple[int, int]:
    if not table.has("timesteps"):
        return TIMESTEPS[method]
    values = table.take_wholes("timesteps", 0, MAX_TIMESTEPS[method])
    if len(values) != 2 or values[0] >= values[1]:
        raise table.fail("timesteps", f"= {show(list(values))} is no range. Give two whole numbers, the lower one first.")  # fmt: skip
    return values[0], values[1]
