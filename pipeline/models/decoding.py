"""How a pipeline of an unknown class makes its latents ready for the decoder, seen in its own call.

Pipelines divide by a scale, add a shift, or undo a mean and a deviation for each channel: all are a factor and a summand for
each channel. Some keep squares of latents as tokens (FLUX) or as channels, some keep a frame of a video or decode one. All this
follows from the last latents and from what the pipeline then hands to its decoder.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

EXACT = 1e-3
"""Part of the decoder's input that a factor and a summand for each channel may leave, for float32 latents."""
EXACT_HALF = 1e-2
ATTRIBUTE = "_stepscope_layout"

Order = Literal["picture", "tokens", "frame", "channels last"]
"""How latents are laid out: "n k h w", "n (h w) k", "n k 1 h w" or "n 1 h w k"."""


@dataclass(frozen=True)
class Arrangement:
    """Where the values of a picture are among a pipeline's latents.

    Attributes:
        order: the order of the axes.
        side: of the square of the picture whose values one place holds; 1 = its channels alone.
        rows, columns: of places.
        last: whether a place holds its square as (side side c), not as (c side side).
    """

    order: Order = "picture"
    side: int = 1
    rows: int = 0
    columns: int = 0
    last: bool = False

    def unpack(self, latents: Tensor) -> Float[Tensor, "n c h w"]:
        """Latents as the pipeline keeps them, as a picture."""
        if self.order == "picture":
            grid = latents.movedim(1, -1)
        elif self.order == "tokens":
            grid = latents.unflatten(1, (self.rows, self.columns))
        else:
            grid = (
                latents.squeeze(2).movedim(1, -1) if self.order == "frame" else latents.squeeze(1)
            )
        if self.side == 1:
            return grid.movedim(-1, 1)
        square = (self.side, self.side)
        if self.last:
            values = grid.unflatten(3, (*square, -1)).permute(0, 5, 1, 3, 2, 4)
        else:
            values = grid.unflatten(3, (-1, *square)).permute(0, 3, 1, 4, 2, 5)
        return values.flatten(4, 5).flatten(2, 3)

    def pack(self, latents: Float[Tensor, "n c h w"]) -> Tensor:
        """The inverse of `unpack`."""
        grid = latents.movedim(1, -1)
        if self.side > 1:
            values = latents.unflatten(3, (-1, self.side)).unflatten(2, (-1, self.side))
            axes = (0, 2, 4, 3, 5, 1) if self.last else (0, 2, 4, 1, 3, 5)
            grid = values.permute(axes).flatten(3)
        if self.order == "picture":
            return grid.movedim(-1, 1)
        if self.order == "tokens":
            return grid.flatten(1, 2)
        return grid.movedim(-1, 1).unsqueeze(2) if self.order == "frame" else grid.unsqueeze(1)


@dataclass(frozen=True)
class Layout:
    """How latents become the decoder's input.

    Attributes:
        factor, summand: of each channel, and of each place in a square (FLUX.2).
        arrangement: of the latents.
        frames: whether the decoder takes "n c 1 h w", as those of video models do.
        options: flags of the decoder's call, such as one that leaves its codebook out.
    """

    factor: Float[Tensor, "c side side"]
    summand: Float[Tensor, "c side side"]
    arrangement: Arrangement = field(default_factory=Arrangement)
    frames: bool = False
    options: Mapping[str, bool] = field(default_factory=dict)

    def decode(self, decoder: Any, latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 H W"]:
        """Unpacked latents as the decoder's images, before they are brought to [0, 1]."""
        side = self.arrangement.side
        rows, columns = (size // side for size in latents.shape[2:])
        factor, summand = (
            each.to(latents.device, latents.dtype).repeat(1, rows, columns)
            for each in (self.factor, self.summand)
        )
        z = (latents * factor + summand).to(decoder.dtype)
        z = z.unsqueeze(2) if self.frames else z
        images: Tensor = decoder.decode(z, return_dict=False, **self.options)[0]
        return images[:, :, 0] if self.frames else images


def layout_of(pipeline: Any) -> Layout | None:
    """What was learnt of a pipeline, None where nothing was."""
    known: Layout | None = getattr(pipeline, ATTRIBUTE, None)
    return known


def learn(
    pipeline: Any,
    latents: Tensor,
    decoded: Tensor | None,
    options: Mapping[str, bool] | None = None,
) -> None:
    """Keeps what turns the last latents into the decoder's input, where an arrangement of them, and a factor and a summand
    for each channel, do.

    Args:
        pipeline: that is sampled.
        latents: after its last step.
        decoded: what it handed to its decoder, "n c h w" or "n c 1 h w"; None = it has none, or did not call it.
        options: flags of that call.
    """
    layout = None if decoded is None else _layout(latents, decoded)
    setattr(pipeline, ATTRIBUTE, layout and replace(layout, options=dict(options or {})))


def _layout(latents: Tensor, decoded: Tensor) -> Layout | None:
    frames = decoded.ndim == 5 and decoded.shape[2] == 1
    z = decoded[:, :, 0] if frames else decoded
    if z.ndim != 4:
        return None
    for arrangement in _arrangements(latents, z):
        fitted = _fit(arrangement.unpack(latents), z, arrangement.side)
        if fitted:
            return Layout(*fitted, arrangement, frames)
    return None


def _arrangements(latents: Tensor, z: Float[Tensor, "n c h w"]) -> Iterator[Arrangement]:
    """Those whose sizes fit the decoder's input."""
    channels, height, width = z.shape[1:]
    for order, axis in _orders(latents):
        side = math.isqrt(latents.shape[axis] // channels)
        if side == 0 or latents.shape[axis] != channels * side**2 or height % side or width % side:
            continue
        rows, columns = height // side, width // side
        axes = {"picture": (2, 3), "tokens": (1,), "frame": (3, 4), "channels last": (2, 3)}[order]
        sizes = (rows * columns,) if order == "tokens" else (rows, columns)
        if tuple(latents.shape[each] for each in axes) == sizes:
            for last in (False, True)[: 1 + (side > 1)]:
                yield Arrangement(order, side, rows, columns, last)


def _orders(latents: Tensor) -> Iterator[tuple[Order, int]]:
    """The orders of axes that latents may have, with the axis of their channels."""
    if latents.ndim == 3:
        yield "tokens", 2
    if latents.ndim == 4:
        yield "picture", 1
    if latents.ndim == 5 and latents.shape[2] == 1:
        yield "frame", 1
    if latents.ndim == 5 and latents.shape[1] == 1:
        yield "channels last", 4


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


Handed = tuple[Tensor, Mapping[str, bool]]
"""What a decoder is given, and the flags of the call."""


@contextmanager
def listen(decoder: Any, scheduler: Any) -> Iterator[tuple[list[Handed], list[Tensor]]]:
    """Notes what a decoder is given, where there is one, and what the scheduler's steps give."""
    inputs: list[Handed] = []
    outputs: list[Tensor] = []

    def stepped(_arguments: tuple, _named: dict, result: Any) -> None:
        outputs.append(result[0] if isinstance(result, tuple) else result.prev_sample)

    def decoded(arguments: tuple, named: dict, _result: Any) -> None:
        flags = {k: v for k, v in named.items() if isinstance(v, bool) and k != "return_dict"}
        inputs.append((arguments[0] if arguments else next(iter(named.values())), flags))

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
