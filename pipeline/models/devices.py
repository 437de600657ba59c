"""Where a model runs and how: device, number type, memory settings, batch size, and one worker for each GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.hooks.group_offloading import _is_group_offload_enabled
from diffusers.models.attention_dispatch import attention_backend
from torch import nn

from pipeline.errors import ModelError
from pipeline.models.guard import one_line
from pipeline.study.spec import ModelSpec

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
HALF = ("cuda", "mps")
"""Kinds of devices that compute in float16 unless a study says otherwise."""


def available(kind: str) -> bool:
    """Whether torch sees a device of this kind ("cpu", "cuda" or "mps")."""
    if kind == "cuda":
        return torch.cuda.is_available()
    return kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available())


def choose_device(wanted: str) -> torch.device:
    """`auto` is CUDA where there is one, else MPS where it runs, else the CPU.

    Args:
        wanted: "auto", "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ModelError: the device is not there.
    """
    if wanted == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available(kind)))
    kind, _, number = wanted.partition(":")
    if not available(kind):
        name = kind.upper() if kind in HALF else kind
        raise ModelError(
            f"device {wanted!r} was asked for, but torch sees no {name} device. Use --device cpu or auto."
        )
    if kind == "cuda" and number and not int(number) < torch.cuda.device_count():
        raise ModelError(
            f"device {wanted!r} was asked for, but there are {torch.cuda.device_count()} CUDA devices, numbered from 0."
        )
    return torch.device(wanted)


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """`auto` is float16 on a GPU and float32 on the CPU."""
    if wanted == "auto":
        return torch.float16 if device.type in HALF else torch.float32
    return DTYPES[wanted]


def worker_devices(wanted: str, cuda: int | None = None) -> tuple[str, ...]:
    """The devices of a machine that get a worker process each: every GPU, or the one device there is.

    Args:
        wanted: "auto" or "cuda" = every GPU; "cuda:1", "cpu", "mps" = that one.
        cuda: number of CUDA devices; None = as torch says.

    Raises:
        ModelError: the device is not there.
    """
    count = torch.cuda.device_count() if cuda is None else cuda
    if wanted in ("auto", "cuda") and count:
        return tuple(f"cuda:{number}" for number in range(count))
    return (str(choose_device(wanted)),)


def assign(devices: Sequence[str], workers: int) -> tuple[str, ...]:
    """The device of each of some worker processes, in turn.

    Raises:
        ModelError: there is no worker, or no device.
    """
    if workers < 1 or not devices:
        raise ModelError(f"{workers} workers on {len(devices)} devices: give at least one of each.")
    return tuple(devices[number % len(devices)] for number in range(workers))


def place(pipeline: Any, spec: ModelSpec, device: torch.device) -> Any:
    """Brings a pipeline to its device, with the memory and speed settings of its entry.

    Raises:
        ModelError: a setting that the pipeline or the device does not have.
    """
    decoder = next(
        (getattr(pipeline, n, None) for n in ("vae", "movq") if hasattr(pipeline, n)), None
    )
    try:
        if spec.vae_tiling:
            decoder.enable_tiling()  # type: ignore[union-attr]
        if spec.vae_slicing:
            decoder.enable_slicing()  # type: ignore[union-attr]
    except (AttributeError, NotImplementedError) as error:
        raise ModelError(
            f"model {spec.name}: {type(decoder).__name__} has no tiling or slicing. Leave out vae_tiling and vae_slicing."
        ) from error
    if spec.offload is None:
        pipeline = pipeline.to(device)
    else:
        _offload(pipeline, spec, device)
    for module in denoisers(pipeline):
        if spec.attention_backend:
            _set_attention(module, spec)
        if spec.channels_last:
            module.to(memory_format=torch.channels_last)
        if spec.compile:  # the call stays outside, with the hooks that watch it
            module.forward = torch.compile(module.forward)  # type: ignore[method-assign]
    return pipeline


def _set_attention(module: Any, spec: ModelSpec) -> None:
    """Gives a denoiser the attention function of its entry; the study file allows none that loads code from the Hub.

    Raises:
        ModelError: its package is missing, or the denoiser's attention does not take one.
    """
    problem = f"model {spec.name}: attention_backend = {spec.attention_backend!r}"
    if not any(hasattr(getattr(m, "processor", None), "_attention_backend") for m in module.modules()):  # fmt: skip
        raise ModelError(f"{problem} has no effect on a {type(module).__name__}, whose attention diffusers calls directly. Leave it out.")  # fmt: skip
    advice = "Install its package, choose another one, or leave it out."
    # diffusers makes it the choice of every other model in the process too, until the context gives that back.
    with one_line(f"{problem} cannot be used here", advice), attention_backend("native"):
        module.set_attention_backend(spec.attention_backend)


def denoisers(pipeline: Any) -> list[nn.Module]:
    """What channels-last and `torch.compile` act on."""
    modules = (getattr(pipeline, name, None) for name in ("unet", "transformer"))
    return [module for module in modules if isinstance(module, nn.Module)]


def _offload(pipeline: Any, spec: ModelSpec, device: torch.device) -> None:
    if device.type == "cpu":
        raise ModelError(
            f"model {spec.name}: offload = {spec.offload!r} moves parts between a GPU and the computer's memory, and this "
            "run is on the CPU. Leave it out, or use --device cuda."
        )
    if spec.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)


def is_group_offloaded(pipeline: Any) -> bool:
    """Whether a denoiser has diffusers' group offload: its weights leave the GPU before a gradient has passed through them."""
    return any(_is_group_offload_enabled(module) for module in denoisers(pipeline))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was short, on the GPU or the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def probe_batch(attempt: Callable[[int], float], most: int) -> int:
    """The batch size that gives most images a second, by doubling until memory or gain ends.

    Args:
        attempt: samples so many images for a step or two and returns the seconds it took; may raise out of memory.
        most: an upper bound.

    Returns: 1 to `most`. A size counts as a gain from 5 % more images a second on.

    Raises:
        whatever `attempt` raises at one image.
    """
    best, fastest, size = 1, 1 / max(attempt(1), 1e-9), 2
    while size <= most:
        try:
            speed = size / max(attempt(size), 1e-9)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            logging.getLogger(__name__).info("batch of %d does not fit", size)
            break
        if speed < 1.05 * fastest:
            break
        best, fastest, size = size, speed, 2 * size
    return best
