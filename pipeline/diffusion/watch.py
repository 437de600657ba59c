"""Watches diffusers' own pipeline at every denoising step, without changing what it computes.

`Watch` wraps `scheduler.step` (which sees x_t, the guided prediction and the timestep in every pipeline) and puts a forward
pre-hook on the denoiser (which sees the call's arguments). Both come off again, also after an exception.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.diffusion.denoiser import Denoiser, Guidance, Packing, latents_of, packing_of
from pipeline.diffusion.guiders import GuidedBy, standing_guider
from pipeline.diffusion.noise import NoiseLevel, denoise, noise_level, second_call, spread_of
from pipeline.diffusion.perturbed import Perturbation, perturbed_scale
from pipeline.diffusion.phrases import Phrases
from pipeline.diffusion.scheduler_step import SchedulerStep, remember_step
from pipeline.models import loading
from pipeline.models.decoding import Arrangement, layout_of
from pipeline.models.inception import Inception
from pipeline.models.scorer import Scorer
from pipeline.models.transfers import HostTables, entry_of
from pipeline.study.prompts import Prompt


@dataclass(frozen=True)
class LearntPacking(Packing):
    """That of a class without an entry, as its trial found it."""

    arrangement: Arrangement = field(default_factory=Arrangement)

    def unpack(self, packed: Tensor) -> Float[Tensor, "n c h w"]:
        """Latents as the pipeline keeps them, over space."""
        return self.arrangement.unpack(packed)

    def pack(self, latents: Float[Tensor, "n c h w"]) -> Tensor:
        """The inverse of `unpack`."""
        return self.arrangement.pack(latents)


@dataclass(frozen=True)
class Scaled(Packing):
    """Latents and predictions as a scheduler keeps them whose noise has another deviation than 1 (sCM)."""

    spread: float = 1.0

    def unpack(self, packed: Tensor) -> Float[Tensor, "n c h w"]:
        """Those with noise of deviation 1."""
        return packed / self.spread

    def pack(self, latents: Float[Tensor, "n c h w"]) -> Tensor:
        """The inverse of `unpack`."""
        return latents * self.spread


@dataclass(frozen=True)
class Batch:
    """What is being sampled: one pipeline call of b prompts with one seed. `scorer` is the study's first."""

    prompts: tuple[Prompt, ...]
    seed: int
    pipeline: Any
    family: loading.Family
    scorer: Scorer
    total_steps: int
    guided: bool
    guidance: float | None = None  # None = as the pipeline has it
    decoder: Any = None  # of the steps; None = the pipeline's own
    negative_prompt: str = ""
    inception: Inception | None = None
    phrases: Phrases | None = None  # of the concepts whose attention is measured

    def decode(self, latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 H W"]:
        """Latents to images in [0, 1]."""
        return loading.decode(self.pipeline, latents, self.decoder)


@dataclass
class StepView:
    """One denoiser call of a batch of b items, step 0 being the noisiest.

    Attributes:
        call: 1, or 2 for the second evaluation of a second-order step (Heun, KDPM2).
        latents: x_t, "b c h w". next_latents: what the scheduler made of it.
        prediction: the guided prediction, "b c h w". denoised: the clean latents x0 it implies, "b c h w".
        take_step: what the scheduler makes of other latents and predictions at this step.
    """

    batch: Batch
    step: int
    total_steps: int
    call: int
    timestep: float
    level: NoiseLevel
    latents: Float[Tensor, "b c h w"]
    next_latents: Float[Tensor, "b c h w"]
    prediction: Float[Tensor, "b c h w"]
    denoised: Float[Tensor, "b c h w"]
    denoiser: Denoiser
    take_step: SchedulerStep
    _images: Tensor | None = field(default=None, repr=False)
    _embeddings: Tensor | None = field(default=None, repr=False)

    @property
    def alpha(self) -> float:
        """Signal scale of x_t."""
        return self.level.alpha

    @property
    def sigma(self) -> float:
        """Noise scale of x_t."""
        return self.level.sigma

    def images(self) -> Float[Tensor, "b 3 H W"]:
        """The predicted clean images, in [0, 1]; decoded once."""
        if self._images is None:
            self._images = self.batch.decode(self.denoised)
        return self._images

    def embeddings(self) -> Float[Tensor, "b d"]:
        """Unit embeddings of the predicted clean images by the study's first scorer; computed once."""
        if self._embeddings is None:
            self._embeddings = self.batch.scorer.images(self.images())
        return self._embeddings


class Observer(Protocol):
    """Looks at every step of a batch and afterwards gives columns of the shard (pipeline/results/shards.py) per item."""

    def on_step(self, view: StepView) -> None:
        """Called at each denoiser call, after the scheduler's step."""

    def columns(self, item: int) -> dict[str, Any]:
        """What was seen of one item of the batch."""


class Watch:
    """Context manager that shows every step of a pipeline run to observers.

    The first half of a step is the denoiser's call (its arguments are kept by reference), the second is `scheduler.step`.
    Only one step is held at a time.
    """

    def __init__(self, batch: Batch, observers: Sequence[Observer]) -> None:
        self.batch = batch
        self.observers = observers
        self.step = 0
        self._calls: list[tuple[tuple, dict]] = []
        self._apart = batch.family.guidance == "apart"
        self._silent = False
        self._guider: Any = None
        # the same at every step; reading them from an accelerator makes the host wait
        self._tables = HostTables()
        self._packing: Packing | None = None
        self._first: tuple[Any, Tensor, Tensor] | None = None
        self._scaled: bool | None = None

    def __enter__(self) -> Watch:
        self._stage = loading.stage_of(self.batch.pipeline)
        self._scheduler = self._stage.scheduler
        self._original = self._scheduler.step
        self._module = loading.denoiser_of(self.batch.pipeline)
        self._hook = self._module.register_forward_pre_hook(self._capture, with_kwargs=True)
        self._scheduler.step = self._wrapped()
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
        self._scheduler.__dict__.pop("step", None)
        self._calls = []

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Calls of the denoiser made by an observer are not taken for the pipeline's own."""
        before, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = before

    def _capture(self, _module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        if not self._silent:
            if self._apart and not self._calls:
                self._guider = standing_guider(self._stage, kwargs)
            self._calls = [*self._calls, (args, kwargs)] if self._apart else [(args, kwargs)]

    def _wrapped(self) -> Callable[..., Any]:
        @functools.wraps(
            self._original
        )  # pipelines look at the signature for `eta` and `generator`
        def step(model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any):
            before = copy.copy(self._scheduler)
            taken = remember_step(before, sample, timestep, args, kwargs)
            result = self._original(model_output, timestep, sample, *args, **kwargs)
            following = result[0] if isinstance(result, tuple) else result.prev_sample
            with torch.no_grad(), self.silent():
                self._show(before, model_output, timestep, sample, following, taken)
            return result

        return step

    def _show(
        self,
        scheduler: Any,
        prediction: Tensor,
        timestep: Any,
        x: Tensor,
        following: Tensor,
        taken: Callable[[Packing], SchedulerStep],
    ) -> None:
        if not self._calls:
            raise RuntimeError("scheduler.step was called before the denoiser")
        count = len(self.batch.prompts)
        packing = self._packing = self._packing or self._read_packing()
        stepped = Scaled(spread=spread_of(scheduler)) if self.batch.family.trigflow else packing
        # some pipelines step both guidance halves, of which one is the image
        x, prediction, following = (
            stepped.unpack(value[:count]) for value in (x, prediction, following)
        )
        prediction = prediction[:, : x.shape[1]]  # a learned variance, where there is one, follows
        number, level = self._read_level(scheduler, timestep)
        view = StepView(
            batch=self.batch,
            step=self.step,
            total_steps=self.batch.total_steps,
            call=2 if second_call(scheduler) else 1,
            timestep=number,
            level=level,
            latents=x,
            next_latents=following,
            prediction=prediction,
            denoised=denoise(scheduler, level, x, prediction),
            denoiser=self._denoiser(scheduler, level, prediction, timestep, x, packing),
            take_step=taken(stepped),
        )
        for observer in self.observers:
            observer.on_step(view)
        if self._apart:
            self._calls = []
        self.step += 1

    def _read_level(self, scheduler: Any, timestep: Any) -> tuple[float, NoiseLevel]:
        """The timestep as a number, and its noise level, by the host's copies of the scheduler's tables."""
        if isinstance(timestep, Tensor) and timestep.ndim:
            timestep = timestep[0]  # one for each item, all the same
        tables = self._tables.of(scheduler)
        timestep = entry_of(
            timestep, getattr(scheduler, "timesteps", None), tables.get("timesteps")
        )
        reader = copy.copy(scheduler)
        vars(reader).update(tables)
        return float(timestep), noise_level(reader, timestep)

    def _read_packing(self) -> Packing:
        learnt = layout_of(self.batch.pipeline)
        if learnt is not None:
            return LearntPacking(arrangement=learnt.arrangement)
        return packing_of(self.batch.family.packed, self._calls[0][1] if self._calls else {})

    def _denoiser(
        self,
        scheduler: Any,
        level: NoiseLevel,
        prediction: Tensor,
        timestep: Any,
        x: Tensor,
        packing: Packing,
    ) -> Denoiser:
        (args, kwargs), *further = self._calls or [((), {})]
        family, halves, perturbation = self.batch.family, 1, self._perturbation()
        if family.known:
            rows = latents_of(args, kwargs)
            halves = max(1, len(rows) // len(x) - (perturbation is not None))
            self._first = self._first or (scheduler, packing.unpack(rows[: len(x)]), x)
        else:  # of other classes it is not known what their calls hold
            further = []
        conditional = Denoiser(
            module=self._module,
            args=args,
            kwargs=kwargs,
            latents=x,
            prediction=prediction,
            halves=halves,
            guidance=self._guidance(timestep) if halves == 2 or further or perturbation else None,
            scheduler=scheduler,
            scaled=self._is_scaled,
            timestep=timestep,
            level=level,
            silence=self.silent,
            packing=packing,
            swapped=family.guidance == "swapped" and halves == 2,
            negated=family.negated,
            trigflow=family.trigflow,
            perturbation=perturbation,
        )
        if not further:
            return conditional
        second = replace(conditional, args=further[0][0], kwargs=further[0][1], guidance=None)
        return replace(conditional, unconditional=second)

    def _perturbation(self) -> Perturbation | None:
        """PAG's processors, where the pipeline's call uses them."""
        if self.batch.family.guidance != "perturbed":
            return None
        perturbs = self._stage.do_perturbed_attention_guidance
        return Perturbation.of(self._module) if perturbs else None

    def _is_scaled(self) -> bool:
        """Whether the pipeline scales latents for its denoiser; read when a replay asks, by the noisiest step's latents."""
        if self._scaled is None:
            if self._first is None:
                return False
            scheduler, shown, x = self._first
            scales = hasattr(scheduler, "scale_model_input")
            self._scaled = scales and not torch.equal(shown, x.to(shown.dtype))
        return self._scaled

    def _guidance(self, timestep: Any) -> Guidance:
        if self._guider is not None:
            return GuidedBy(scale=float(self._guider.guidance_scale), guider=self._guider)
        stage, scale, family = self._stage, self.batch.guidance, self.batch.family
        if scale is None and family.guided != "guidance_scale":
            scale = inspect.signature(stage.__call__).parameters[family.guided].default
        return Guidance(
            scale=float(stage.guidance_scale if scale is None else scale),
            rescale=float(getattr(stage, "guidance_rescale", 0.0) or 0.0),
            beyond=family.beyond,
            keeps_norm=family.keeps_norm,
            perturbed=perturbed_scale(stage, timestep) if family.guidance == "perturbed" else 0.0,
        )
