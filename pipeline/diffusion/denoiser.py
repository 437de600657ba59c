"""One captured denoiser call, replayable as a function of the latents.

Every explanation is written against this one function, so it works for every pipeline that can be watched: the call's
other arguments (timestep, text embeddings, added conditions) are those that the pipeline itself made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pipeline.diffusion.experts import experts_with_gradients
from pipeline.diffusion.noise import NoiseLevel, denoise
from pipeline.diffusion.perturbed import Perturbation
from pipeline.diffusion.trigflow import flow_latents, velocity
from pipeline.models.transfers import index_of

# Images (counting both guidance halves) in one replayed call. On 2 CPU cores with the bundled UNet, 16 and 32 are 2 to 20 %
# faster than 64, and 8 is a third slower; a GPU run may raise it.
CHUNK = 32

# Arguments whose first axis is a sequence, not the batch, even when the lengths agree by chance.
UNBATCHED = frozenset({"txt_ids", "img_ids", "position_ids"})
# Arguments whose second axis is the batch, after the layers of an encoder (HiDream).
BATCHED_SECOND = frozenset({"encoder_hidden_states_llama3"})
TEXTS = ("encoder_hidden_states", "encoder_hidden_states_t5")
"""The argument that more text is put behind: the first that a call has."""


@dataclass(frozen=True)
class Guidance:
    """How the pipeline combines the two halves: u + scale (c - u), optionally rescaled (arXiv 2305.08891).

    With perturbed attention (PAG) there is a third prediction p, and perturbed (c - p) is added; c without u is guided by that alone.

    Attributes:
        scale: as the pipeline is given it.
        rescale: share of the result that has the conditional half's deviation.
        beyond: the pipeline counts from the conditional half: c + scale (c - u).
        keeps_norm: the result has the conditional half's norm over the last axis, as the denoiser gives it.
        perturbed: the scale of perturbed-attention guidance.
    """

    scale: float
    rescale: float = 0.0
    beyond: bool = False
    keeps_norm: bool = False
    perturbed: float = 0.0

    @property
    def weight(self) -> float:
        """w in u + w (c - u)."""
        return self.scale + 1 if self.beyond else self.scale

    def __call__(
        self, unconditional: Tensor | None, conditional: Tensor, perturbed: Tensor | None = None
    ) -> Tensor:
        """The guided prediction; the same operations in the same order as diffusers, so equal to the bit."""
        guided = conditional
        if unconditional is not None:
            start = conditional if self.beyond else unconditional
            guided = start + self.scale * (conditional - unconditional)
        if perturbed is not None:
            guided = guided + self.perturbed * (conditional - perturbed)
        if self.keeps_norm:
            norms = (torch.norm(each, dim=-1, keepdim=True) for each in (conditional, guided))
            return guided * (next(norms) / next(norms))
        if self.rescale <= 0 or unconditional is None:
            return guided
        axes = list(range(1, guided.ndim))
        matched = guided * (conditional.std(axes, keepdim=True) / guided.std(axes, keepdim=True))
        return self.rescale * matched + (1 - self.rescale) * guided

    def of_item(self, item: int) -> Guidance:
        """The guidance of one item of the batch; that of a guider may remember another past for each."""
        return self


@dataclass(frozen=True)
class Packing:
    """How a pipeline lays latents out for its denoiser: as they are, or squares of them as tokens (FLUX).

    Attributes:
        side: of the square of latents in one token; 1 = as they are.
        rows, columns: of tokens.
    """

    side: int = 1
    rows: int = 0
    columns: int = 0

    def unpack(self, packed: Tensor) -> Float[Tensor, "n c h w"]:
        """Tokens "n (rows columns) (c side side)" as latents over space."""
        if self.side == 1:
            return packed
        grid = packed.unflatten(2, (-1, self.side, self.side))
        grid = grid.unflatten(1, (self.rows, self.columns)).permute(0, 3, 1, 4, 2, 5)
        return grid.flatten(4, 5).flatten(2, 3)

    def pack(self, latents: Float[Tensor, "n c h w"]) -> Tensor:
        """The inverse of `unpack`."""
        if self.side == 1:
            return latents
        grid = latents.unflatten(3, (self.columns, self.side)).unflatten(2, (self.rows, self.side))
        return grid.permute(0, 2, 4, 1, 3, 5).flatten(3, 5).flatten(1, 2)


def packing_of(side: int, kwargs: dict[str, Any]) -> Packing:
    """The packing of a captured call; FLUX tells each token's row and column in `img_ids`, Qwen-Image how many there are."""
    if side == 1:
        return Packing()
    if "img_shapes" in kwargs:
        _, rows, columns = kwargs["img_shapes"][0][0]
        return Packing(side, rows, columns)
    if "position_ids" in kwargs:  # Krea 2's, of the text and then of the image
        positions = kwargs["position_ids"][-kwargs["hidden_states"].shape[1] :]
    else:
        positions = kwargs["img_ids"]
    positions = positions[0] if positions.ndim == 3 else positions
    return Packing(side, int(positions[:, 1].max()) + 1, int(positions[:, 2].max()) + 1)


@dataclass(frozen=True)
class Denoiser:
    """The denoiser's call at one step, for a batch of b items.

    Attributes:
        module: the UNet or transformer.
        args, kwargs: what the pipeline called it with; the latents are `args[0]`, `sample` or `hidden_states`.
        latents: x_t of the batch, "b c h w", before the scheduler's input scaling.
        prediction: the guided prediction that the pipeline handed to `scheduler.step`, "b c h w".
        halves: 2 when unconditional and conditional items share the call (unconditional first), else 1.
        perturbation: where the conditional items stand in the call once more, behind those, with perturbed attention (PAG).
        unconditional: the unconditional call, where the pipeline makes it apart.
        guidance: how these predictions combine; None with a single one (off, or embedded in the model).
        scheduler: a copy of the scheduler as it stood at this step.
        scaled: whether the pipeline passed the latents through `scheduler.scale_model_input`.
        timestep: as given to the scheduler.
        packing: how latents are laid out for the module.
        swapped: the conditional half comes first.
        negated: the pipeline hands the negative of the module's output to the scheduler.
        trigflow: latents and predictions are on a circle (SANA-Sprint), the module's a flow's.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    latents: Float[Tensor, "b c h w"]
    prediction: Float[Tensor, "b c h w"]
    halves: int
    guidance: Guidance | None
    scheduler: Any
    scaled: Callable[[], bool]
    timestep: Any
    level: NoiseLevel
    chunk: int = CHUNK
    silence: Callable[[], Any] = field(default=nullcontext, repr=False)
    packing: Packing = Packing()
    swapped: bool = False
    negated: bool = False
    trigflow: bool = False
    unconditional: Denoiser | None = None
    perturbation: Perturbation | None = None

    @property
    def conditions(self) -> int:
        """Conditions that an item is predicted under: 2 with guidance, the empty prompt and its own."""
        return 2 if self.unconditional is not None else self.halves

    @property
    def parts(self) -> int:
        """Predictions of an item that the guided one is made of."""
        return self.conditions + (self.perturbation is not None)

    @property
    def shared(self) -> int:
        """Those of them that share the captured call."""
        return self.halves + (self.perturbation is not None)

    @property
    def batch(self) -> int:
        """Items in the captured call."""
        return self.latents.shape[0]

    @property
    def guidance_scale(self) -> float:
        """The classifier-free guidance scale; 1 when guidance is off or embedded."""
        return self.guidance.weight if self.guidance and self.conditions == 2 else 1.0

    @property
    def second_half_scale(self) -> float:
        """w in first + w (second - first), which is the guidance formula for halves in the order of the call."""
        conditional_first = self.swapped or self.unconditional is not None
        return 1 - self.guidance_scale if conditional_first else self.guidance_scale

    @torch.no_grad()
    def __call__(
        self, latents: Float[Tensor, "n c h w"], item: int = 0
    ) -> Float[Tensor, "n c h w"]:
        """The guided prediction for n latents under the conditions of one item, in chunks of `chunk` images."""
        size = max(1, self.chunk // self.parts)
        alone = replace(self, guidance=self.guidance and self.guidance.of_item(item))
        parts = [alone._guided(part, [item] * len(part)) for part in latents.split(size)]
        return torch.cat(parts)

    def halves_of(
        self, latents: Float[Tensor, "n c h w"], item: int
    ) -> tuple[Float[Tensor, "n c h w"] | None, Float[Tensor, "n c h w"]]:
        """(unconditional, conditional) predictions of n latents for one item; gradients flow where they are enabled."""
        return self._both(latents, [item] * len(latents))

    def halves_of_batch(
        self, latents: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"] | None, Float[Tensor, "b c h w"]]:
        """(unconditional, conditional) predictions with each latent under its own item's conditions."""
        return self._both(latents, None if self.perturbation is None else range(self.batch))

    def conditional_of(
        self, latents: Float[Tensor, "n c h w"], items: Sequence[int]
    ) -> Float[Tensor, "n c h w"]:
        """The conditional prediction of each latent under its own item's conditions; the other half is not run."""
        before = 0 if self.swapped else (self.halves - 1) * self.batch
        rows = tuple(before + row for row in self._rows(items, 1))
        return self._run(latents, rows, 1)[0]

    def guide(
        self, unconditional: Tensor | None, conditional: Tensor, perturbed: Tensor | None = None
    ) -> Tensor:
        """The pipeline's own combination of its predictions."""
        if self.guidance is None or (unconditional is None and perturbed is None):
            return conditional
        if unconditional is None or not self.guidance.keeps_norm:
            return self.guidance(unconditional, conditional, perturbed)
        halves = (self.packing.pack(half) for half in (unconditional, conditional))
        return self.packing.unpack(self.guidance(*halves))

    def with_more_text(
        self, tokens: Float[Tensor, "token d"], indices: Int[Tensor, " token"] | None = None
    ) -> Denoiser:
        """The same call with more text tokens behind those of each item; a mask of text tokens lets them all be seen.

        Args:
            tokens: as the denoiser gets a prompt's tokens.
            indices: of each of them in its text, for a denoiser that is told the places of tokens (FLUX.2).
        """
        kwargs = dict(self.kwargs)
        name = next(name for name in TEXTS if name in kwargs)
        text = kwargs[name]
        more = tokens.to(text).expand(text.shape[0], -1, -1)
        kwargs[name] = torch.cat([text, more], 1)
        mask = kwargs.get("encoder_attention_mask")
        if mask is not None:
            kwargs["encoder_attention_mask"] = torch.cat(
                [mask, mask.new_ones(*mask.shape[:-1], len(tokens))], -1
            )
        mask = kwargs.get("attention_mask")
        if isinstance(mask, Tensor):  # Chroma's, over text and image
            length = text.shape[1]
            ones = mask.new_ones(*mask.shape[:-1], len(tokens))
            kwargs["attention_mask"] = torch.cat([mask[..., :length], ones, mask[..., length:]], -1)
        positions = kwargs.get("txt_ids")
        if positions is not None:
            added = positions.new_zeros(*positions.shape[:-2], len(tokens), positions.shape[-1])
            if positions.shape[-1] == 4 and indices is not None:  # the last axis counts the tokens
                added[..., -1] = indices.to(added)
            kwargs["txt_ids"] = torch.cat([positions, added], -2)
        return replace(self, kwargs=kwargs)

    @property
    def text_behind(self) -> int:
        """Text keys that stand behind what `with_more_text` adds: what HiDream's language model gives, twice."""
        streams = self.kwargs.get("encoder_hidden_states_llama3")
        return 0 if streams is None else 2 * streams.shape[2]

    @torch.no_grad()
    def replay(self) -> Float[Tensor, "b c h w"]:
        """The captured call again: equal to `prediction` to the bit."""
        return self._guided(self.latents, None)

    def denoised(
        self, latents: Float[Tensor, "n c h w"], prediction: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "n c h w"]:
        """The clean latents x0 that a prediction implies at this step."""
        return denoise(self.scheduler, self.level, latents, prediction)

    def _rows(self, items: Sequence[int], parts: int) -> tuple[int, ...]:
        """The rows of the call that the first `parts` predictions of some items are made of."""
        if not all(0 <= item < self.batch for item in items):
            raise IndexError(f"items {sorted(set(items))} of a call with {self.batch} items")
        return tuple(part * self.batch + item for part in range(parts) for item in items)

    def _both(self, latents: Tensor, items: Sequence[int] | None) -> tuple[Tensor | None, Tensor]:
        """(unconditional, conditional) of latents under the conditions of some items (None = each its own), by one call or by two."""
        rows = None if items is None else self._rows(items, self.halves)
        return self._ordered(latents, rows, self._run(latents, rows, self.halves))

    def _guided(self, latents: Tensor, items: Sequence[int] | None) -> Tensor:
        """The guided prediction, likewise."""
        rows = None if items is None else self._rows(items, self.shared)
        predictions = self._run(latents, rows, self.shared)
        both = self._ordered(latents, rows, predictions[: self.halves])
        return self.guide(*both, *predictions[self.halves :])

    def _ordered(
        self, latents: Tensor, rows: tuple[int, ...] | None, halves: Sequence[Tensor]
    ) -> tuple[Tensor | None, Tensor]:
        """(unconditional, conditional) out of those that share a call; the unconditional one is run where it is a call apart."""
        if self.unconditional is not None:
            return self.unconditional._run(latents, rows, 1)[0], halves[0]
        if len(halves) == 1:
            return None, halves[0]
        first, second = halves
        return (second, first) if self.swapped else (first, second)

    def _run(
        self, latents: Tensor, picked: tuple[int, ...] | None, parts: int
    ) -> tuple[Tensor, ...]:
        """The first `parts` predictions of the call for `latents`, with those rows of its other batched arguments that are picked (None = all)."""
        model_input = torch.cat([latents] * parts) if parts > 1 else latents
        if self.scaled():
            model_input = self.scheduler.scale_model_input(model_input, self.timestep)
        args, kwargs = self._arguments(picked)
        if self.trigflow:
            model_input = flow_latents(model_input, kwargs["timestep"])
        packed = _as_captured(self.packing.pack(model_input), latents_of(self.args, self.kwargs))
        args, kwargs = _with_latents(args, kwargs, packed)
        with self.silence(), experts_with_gradients(self.module), self._perturbed(parts):
            output = self.packing.unpack(first_output(self.module(*args, **kwargs)))
        if self.trigflow:
            output = velocity(output, model_input, kwargs["timestep"])
        # a learned variance, where there is one, comes second
        output = output[:, : latents.shape[1]].to(self.prediction.dtype)
        return (-output if self.negated else output).chunk(parts)

    def _perturbed(self, parts: int) -> AbstractContextManager[None]:
        """Layers that perturb attention do so in calls of all parts, and in no others."""
        if self.perturbation is None:
            return nullcontext()
        complete = parts == self.shared
        return self.perturbation.present() if complete else self.perturbation.absent()

    def _arguments(self, picked: tuple[int, ...] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call's arguments, with the rows that are picked; all as they are if None."""
        if picked is None:
            return self.args, self.kwargs
        rows = self.shared * self.batch
        select = _picker(picked)
        if self.args and isinstance(self.args[0], list):  # an item of each list is a row
            args = tuple(
                [value[row] for row in picked]
                if isinstance(value, list) and len(value) == rows
                else _map(value, rows, select)
                for value in self.args
            )
        else:
            args = tuple(_map(value, rows, select) for value in self.args)
        return args, {
            name: self._picked(name, value, picked) for name, value in self.kwargs.items()
        }

    def _picked(self, name: str, value: Any, picked: tuple[int, ...]) -> Any:
        """The rows of a keyword argument that are picked."""
        if name in UNBATCHED:
            return value
        if name in BATCHED_SECOND:
            return value.index_select(1, index_of(picked, value.device))
        return _map(value, self.shared * self.batch, _picker(picked))


def first_output(output: Any) -> Tensor:
    """The prediction out of what a diffusers denoiser returns (a tensor, a tuple or an output object)."""
    if isinstance(output, Tensor):
        return output
    first = output[0] if isinstance(output, tuple | list) else output.sample
    # Z-Image gives a list of "c 1 h w", an item each
    return torch.stack(first).squeeze(2) if isinstance(first, list) else first


def latents_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The latents among the arguments of a denoiser call."""
    for name in ("hidden_states", "sample"):
        if isinstance(kwargs.get(name), Tensor):
            return kwargs[name]
    # Z-Image hands over a list of "c 1 h w", an item each
    return torch.stack(args[0]).squeeze(2) if isinstance(args[0], list) else args[0]


def _as_captured(latents: Tensor, captured: Tensor) -> Tensor:
    """Latents of the captured type, their axes in memory in the captured order: some float16 products depend on it (FLUX.2)."""
    order = sorted(range(captured.ndim), key=captured.stride, reverse=True)
    inverse = [order.index(axis) for axis in range(captured.ndim)]
    return latents.to(captured.dtype).permute(order).contiguous().permute(inverse)


def _picker(rows: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Picks rows of a batched argument, wherever it is."""
    return lambda value: value.index_select(0, index_of(rows, value.device))


def _with_latents(args: tuple, kwargs: dict, latents: Tensor) -> tuple[tuple, dict]:
    for name in ("hidden_states", "sample"):
        if isinstance(kwargs.get(name), Tensor):
            return args, {**kwargs, name: latents}
    if isinstance(args[0], list):
        return (list(latents.unsqueeze(2).unbind(0)), *args[1:]), kwargs
    return (latents, *args[1:]), kwargs


def _map(value: Any, rows: int, select: Callable[[Tensor], Tensor]) -> Any:
    """`select` applied to every tensor with `rows` rows inside nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return select(value) if value.ndim > 0 and value.shape[0] == rows else value
    if isinstance(value, dict):
        return {name: _map(part, rows, select) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_map(part, rows, select) for part in value)
    return value
