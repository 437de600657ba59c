"""Images whose first steps are those of another prompt: the pipeline's own call, with the denoiser's first outputs given.

A run keeps the outputs of its denoiser. A second run of the same pipeline, with the same seed and another prompt, is given
the first of them in place of its own: scheduler, noise and guidance then pass through the very states of the first run, whatever
they are, and from there on the second prompt decides. The shared steps cost no call of the denoiser.

Source: prompt switching as in concept insertion, arXiv 2512.08486; the exchange takes place at the denoiser's hook.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

Run = Callable[[], Float[Tensor, "b 3 h w"]]


@contextmanager
def kept_outputs(module: nn.Module) -> Iterator[list[Any]]:
    """Keeps a copy of every output of a module; the list fills while the block runs."""
    outputs: list[Any] = []

    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        outputs.append(copy.deepcopy(output))

    hook = module.register_forward_hook(keep)
    try:
        yield outputs
    finally:
        hook.remove()


@contextmanager
def replayed_outputs(module: nn.Module, outputs: Sequence[Any]) -> Iterator[None]:
    """Gives a module's first calls these outputs; later calls are its own. The module is as before afterwards."""
    instance = vars(module).get("forward")
    original = module.forward
    left = iter(outputs)

    def forward(*args: Any, **kwargs: Any) -> Any:
        for output in left:
            return copy.deepcopy(output)
        return original(*args, **kwargs)

    module.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del module.forward
        if instance is not None:  # compiled, or moved between devices
            module.forward = instance  # type: ignore[method-assign]


@torch.no_grad()
def branches(
    module: nn.Module, first: Run, second: Run, steps: Sequence[int], total_steps: int
) -> Iterator[tuple[int, Float[Tensor, "b 3 h w"]]]:
    """The images of a switch from one prompt to another, at several steps.

    Args:
        module: the denoiser that both runs call.
        first: samples from the prompts to switch from.
        second: samples from the prompts to switch to, with the same seed.
        steps: the first steps of the second prompts, each from 0 to `total_steps`.
        total_steps: scheduler steps of a run.

    Yields: (step, images), first of all (total_steps, the images of `first` alone), then in the order of `steps`.

    Raises:
        RuntimeError: the denoiser is not called equally often at each step.
    """
    with kept_outputs(module) as outputs:
        images = first()
    yield total_steps, images
    calls, rest = divmod(len(outputs), total_steps)
    if rest or not calls:
        raise RuntimeError(
            f"{len(outputs)} denoiser calls in {total_steps} steps: a switch needs the same number at each step"
        )
    for step in steps:
        with replayed_outputs(module, outputs[: step * calls]):
            yield step, second()
