"""How a pipeline of an unknown class makes its latents ready for the decoder, seen in its own call.

Pipelines divide by a scale, add a shift, or undo a mean and a deviation for each channel: all are a factor and a summand for
each channel. Some keep squares of latents as tokens (FLUX), some decode one frame of a video. All this follows from the last
latents and from what the pipeline then hands to its decoder.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

EXACT = 1e-3
"""Part of the decoder's input that a factor and a summand for each channel may leave, for float32 latents."""
EXACT_HALF = 1e-2
ATTRIBUTE = "_stepscope_layout"


@dataclass(frozen=True)
class Layout:
    """How latents become the decoder's input.

    Attributes:
        factor, summand: of each channel, and of each place in a token's square (FLUX.2).
        side: of the square of latents in one token; 1 = latents are "n c h w".
        rows, columns: of tokens.
        frames: whether the decoder takes "n c 1 h w", as those of video models do.
    """

    factor: Float[Tensor, "c side side"]
    summand: Float[Tensor, "c side side"]
    side: int = 1
    rows: int = 0
    columns: int = 0
    frames: bool = False

    def decode(self, decoder: Any, latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 H W"]:
        """Unpacked latents as the decoder's images, before they are brought to [0, 1]."""
        rows, columns = (size // self.side for size in latents.shape[2:])
        factor, summand = (
            each.to(latents.device, latents.dtype).repeat(1, rows, columns)
            for each in (self.factor, self.summand)
        )
        z = (latents * factor + summand).to(decoder.dtype)
        if not self.frames:
            images: Tensor = decoder.decode(z, return_dict=False)[0]
            return images
        return decoder.decode(z.unsqueeze(2), return_dict=False)[0][:, :, 0]


def layout_of(pipeline: Any) -> Layout | None:
    """What was learnt of a pipeline, None where nothing was."""
    known: Layout | None = getattr(pipeline, ATTRIBUTE, None)
    return known


def learn(pipeline: Any, latents: Tensor, decoded: Tensor | None) -> None:
    """Keeps what turns the last latents into the decoder's input, where squares of latents as tokens, and a factor and a
    summand for each channel, do.

    Args:
        pipeline: that is sampled.
        latents: after its last step, "n c h w", or tokens "n (rows columns) (c side side)".
        decoded: what it handed to its decoder, "n c h w" or "n c 1 h w"; None = it has none, or did not call it.
    """
    setattr(pipeline, ATTRIBUTE, None if decoded is None else _layout(latents, decoded))


def _layout(latents: Tensor, decoded: Tensor) -> Layout | None:
    frames = decoded.ndim == 5 and decoded.shape[2] == 1
    z = decoded[:, :, 0] if frames else decoded
    if z.ndim != 4:
        return None
    side, rows, columns = _tokens(latents, z)
    if latents.ndim == 3 and side:
        grid = latents.view(len(latents), rows, columns, z.shape[1], side, side)
        latents = grid.permute(0, 3, 1, 4, 2, 5).reshape(len(latents), *z.shape[1:])
    fitted = _fit(latents, z, side or 1) if latents.shape == z.shape else None
    return fitted and Layout(*fitted, side or 1, rows, columns, frames)


def _tokens(latents: Tensor, z: Float[Tensor, "n c h w"]) -> tuple[int, int, int]:
    """Side, rows and columns of tokens that hold squares of the decoder's input; zeros where there are none."""
    _, channels, height, width = z.shape
    side = math.isqrt(latents.shape[-1] // channels) if latents.ndim == 3 else 0
    squares = side > 0 and height % side == width % side == 0
    if (
        not squares
        or latents.shape[-1] != channels * side**2
        or latents.shape[1] != height * width // side**2
    ):
        return 0, 0, 0
    return side, height // side, width // side


def _fit(
    latents: Float[Tensor, "n c h w"], decoded: Float[Tensor, "n c h w"], side: int
) -> tuple[Float[Tensor, "c side side"], Float[Tensor, "c side side"]] | None:
    """The factor and the summand of each channel and place in a square, where they leave nothing."""
    x, z = (_squares(each.detach().double().cpu(), side) for each in (latents, decoded))
    x_mean, z_mean = x.mean(-1, keepdim=True), z.mean(-1, keepdim=True)
    variance = (x - x_mean).square().sum(-1)
    if not bool((variance > 0).all()):
        return None
    factor = ((x - x_mean) * (z - z_mean)).sum(-1) / variance
    summand = z_mean[..., 0] - factor * x_mean[..., 0]
    left = z - factor[..., None] * x - summand[..., None]
    most = EXACT if decoded.dtype == latents.dtype == torch.float32 else EXACT_HALF
    return (factor, summand) if float(left.norm()) <= most * float(z.norm()) else None


def _squares(latents: Float[Tensor, "n c h w"], side: int) -> Float[Tensor, "c side side m"]:
    """The values of each channel and place in a square."""
    grid = latents.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    return grid.permute(1, 3, 5, 0, 2, 4).flatten(3)


@contextmanager
def listen(decoder: Any, scheduler: Any) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """Notes what a decoder is given, where there is one, and what the scheduler's steps give."""
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def stepped(_arguments: tuple, _named: dict, result: Any) -> None:
        outputs.append(result[0] if isinstance(result, tuple) else result.prev_sample)

    def decoded(arguments: tuple, named: dict, _result: Any) -> None:
        inputs.append(arguments[0] if arguments else next(iter(named.values())))

    with ExitStack() as stack:
        stack.enter_context(_told(scheduler, "step", stepped))
        if hasattr(decoder, "decode"):
            stack.enter_context(_told(decoder, "decode", decoded))
        yield inputs, outputs


@contextmanager
def _told(owner: Any, name: str, tell: Callable[[tuple, dict, Any], None]) -> Iterator[None]:
    """Tells of each call of a method its arguments and its result."""
    original = getattr(owner, name)

    @functools.wraps(original)  # pipelines look at the signature for `eta` and `generator`
    def call(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        tell(arguments, named, result)
        return result

    setattr(owner, name, call)
    try:
        yield
    finally:
        delattr(owner, name)
