"""Two denoising steps before a study: is what is recorded of a model what the model computes?

A pipeline may scale, shift or negate latents and predictions in its own loop. Then the clean latents that are derived from
them are wrong without an error. So a model, known or not, is sampled twice in two steps, plainly and watched, and three things
are compared: the last predicted clean image with the final image, the two final images, and the replayed denoiser call with the
captured one. A class without an entry is also sampled beside a second prompt, if a study asks for batches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from pipeline.diffusion.generate import count_calls, generate
from pipeline.diffusion.timesteps import apply_schedule
from pipeline.diffusion.watch import Batch, StepView, Watch
from pipeline.errors import ModelError
from pipeline.models import loading
from pipeline.models.decoding import learn, listen
from pipeline.models.devices import is_out_of_memory
from pipeline.models.families import REPLAYED
from pipeline.study.prompts import Prompt
from pipeline.study.spec import ModelSpec

STEPS = 2
BESIDE = "two dogs and a wooden chair on a wide green field under a cloudy sky"
MOST_LEVELS = {torch.float32: 0.25}
MOST_LEVELS_HALF = 1.0
"""Mean difference of two images, in levels of 255, that rounding explains: of half-precision latents at most one level."""
IN_PLANE = {torch.float32: 1e-4}
IN_PLANE_HALF = 1e-2
"""Part of x_(t-1) outside the plane of x0 and the noise, up to which a step is taken for deterministic and of first order."""
CLOSE = 1e-2
"""Largest difference of a signal or noise scale that rounding explains; half-precision latents carry 3e-3."""
REPLAY = 1e-2
"""Largest difference of a replayed call, as a share of the output's largest value: half precision, other kernels."""


@dataclass(frozen=True)
class Trial:
    """What two steps of a model showed; kept with the study's results.

    Attributes:
        x0_levels: mean difference of the last predicted clean image from the final image, in levels of 255.
        clean: whether the scheduler ends without noise, so that these two must be equal.
        decoded_levels: the same, of the last latents decoded as steps are.
        next_step: largest difference of the signal and noise scales that the scheduler's steps show from those of the next
            step; None where no step is deterministic and of first order.
        same_bits: whether the watched image has the bits of the plain one; None where two plain ones differ too.
        replay: largest difference of the replayed call from the captured one, as a share of its largest value; None where
            the class is not known.
        alone: whether an image is another one beside a second prompt, so that each prompt is sampled alone; None where no
            batch was tried.
    """

    x0_levels: float
    clean: bool
    decoded_levels: float
    next_step: float | None
    same_bits: bool | None
    replay: float | None
    alone: bool | None = None

    def record(self) -> dict[str, Any]:
        """The figures as they are stored: rounded, so that two runs of one model say the same."""
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}

    def problems(self, most: float) -> list[str]:
        """What is wrong, each with its figure; empty where all is right.

        Args:
            most: difference of two images, in levels of 255, that rounding explains.
        """
        problems = []
        if self.x0_levels > most:
            if self.clean:
                problems.append(_levels("x0 differs", self.x0_levels))
            elif self.decoded_levels > most:
                problems.append(_levels("the decoded latents differ", self.decoded_levels))
            elif self.next_step is None:
                problems.append(
                    f"{_levels('x0 differs', self.x0_levels)}, the scheduler ends with noise and none of its steps tells "
                    "whether x0 is right"
                )
        if not self.clean and self.next_step is not None and self.next_step > CLOSE:
            problems.append(
                f"the scheduler's step from x0 and the noise misses the next noise level by {self.next_step:.2g}"
            )
        if self.same_bits is False:
            problems.append("the image is not the same to the bit with recording")
        return problems

    def missing(self) -> dict[str, str]:
        """The measures that this model cannot give although its class could, and why."""
        if self.replay is None or self.replay <= REPLAY:
            return {}
        reason = f"a replayed denoiser call differs from the captured one by {self.replay:.2g} of its largest value"
        return dict.fromkeys(REPLAYED, reason)


def _levels(what: str, levels: float) -> str:
    return f"{what} from the final image by {levels:.1f} of 255 levels"


def most_levels(dtype: torch.dtype) -> float:
    """The difference of two images that rounding of this precision explains, in levels of 255."""
    return MOST_LEVELS.get(dtype, MOST_LEVELS_HALF)


def try_model(pipeline: Any, model: ModelSpec, batches: bool = False) -> Trial:
    """Samples a loaded model in two steps, plainly and watched. The pipeline's scheduler stays as it is.

    Args:
        pipeline: the loaded pipeline.
        model: how the study samples it.
        batches: whether several prompts may share a call, which is tried of a class without an entry.

    Raises:
        ModelError: the pipeline, or watching it, raised.
    """
    before = pipeline.scheduler
    try:
        steps = _fewest(before)
        short, schedule = apply_schedule(before, model.schedule, model.gamma, steps, type(pipeline))
        loading.use_scheduler(pipeline, short)
        return _tried(pipeline, replace(model, steps=steps), schedule, batches)
    except ModelError:
        raise
    except Exception as error:
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ModelError(
            f"model {model.name}: a trial of {STEPS} steps failed: {reason}. Try it in diffusers alone; if it works there, "
            "report it with the class's name."
        ) from error
    finally:
        loading.use_scheduler(pipeline, before)


def check_trial(
    trial: Trial, model: ModelSpec, dtype: torch.dtype, measures: Collection[str] = ()
) -> None:
    """Refuses a model of which wrong numbers would be recorded.

    Args:
        trial: of the model.
        model: how the study samples it.
        dtype: of its denoiser.
        measures: what the study asks of it.

    Raises:
        ModelError: with the figures.
    """
    problems = trial.problems(most_levels(dtype))
    if problems:
        raise ModelError(
            f"model {model.name}: not recorded, for in a trial of {STEPS} steps {'; '.join(problems)}. Its class scales, "
            "shifts or guides in a way that is not known: docs/families.md shows how to add it."
        )
    lacking = [name for name in trial.missing() if name in measures]
    if lacking:
        raise ModelError(
            f"model {model.name}: {', '.join(lacking)} cannot be measured: {trial.missing()[lacking[0]]}. Leave them out for "
            "this model."
        )


class _Views:
    """The views of a run, and how far the replayed calls are."""

    def __init__(self, replays: bool) -> None:
        self._replays = replays
        self.views: list[StepView] = []
        self.replay: float | None = None

    def on_step(self, view: StepView) -> None:
        self.views.append(view)
        if self._replays and view.batch.family.known:
            again, captured = view.denoiser.replay().float(), view.prediction.float()
            largest = float(captured.abs().max()) or 1.0
            difference = float((again - captured).abs().max()) / largest
            self.replay = max(self.replay or 0.0, difference)

    def columns(self, item: int) -> dict[str, Any]:
        return {}


def _tried(
    pipeline: Any, model: ModelSpec, schedule: dict[str, Any], batches: bool = False
) -> Trial:
    family = loading.family_of(pipeline)
    prompts = (_prompt(pipeline, family),)

    def sample() -> Tensor:
        return generate(pipeline, model, prompts, 0, schedule)

    batch = _batch(pipeline, model, family, prompts, schedule)
    decoder = getattr(pipeline, family.decoder, None) if family.decoder else None
    with listen(decoder, loading.stage_of(pipeline).scheduler) as (handed, stepped):
        plain = sample()
    if not family.known and stepped:
        learn(pipeline, stepped[-1][: len(prompts)], *(handed[-1] if handed else (None,)))
    keep = _Views(replays=model.cache is None)  # a cache would be changed by it
    with Watch(batch, [keep]):
        watched = sample()
    _check_image(plain, pipeline, model)
    if not keep.views:
        raise ModelError(
            f"model {model.name}: {type(pipeline).__name__} never calls its scheduler's step, so no step can be watched."
        )
    last = keep.views[-1]
    return Trial(
        x0_levels=_difference(batch.decode(last.denoised), plain),
        clean=_ends_clean(loading.stage_of(pipeline).scheduler),
        decoded_levels=_difference(batch.decode(last.next_latents), plain),
        next_step=_next_step(keep.views),
        same_bits=_same_bits(plain, watched, sample),
        replay=keep.replay,
        alone=_is_alone(pipeline, model, schedule, plain) if batches and not family.known else None,
    )


def _batch(
    pipeline: Any,
    model: ModelSpec,
    family: loading.Family,
    prompts: tuple[Prompt, ...],
    schedule: dict[str, Any],
) -> Batch:
    return Batch(
        prompts=prompts,
        seed=0,
        pipeline=pipeline,
        family=family,
        scorer=None,  # type: ignore[arg-type]  # nothing is scored
        total_steps=count_calls(pipeline.scheduler, model.steps, schedule),
        guided=model.guidance > family.off,
        guidance=model.guidance,
        negative_prompt=model.negative_prompt,
    )


def _is_alone(
    pipeline: Any, model: ModelSpec, schedule: dict[str, Any], plain: Tensor
) -> bool | None:
    """Whether an image beside that of a longer prompt is another one, as where one generator serves a whole call (GLM-Image)."""
    prompts = (
        Prompt("beside", BESIDE, "", "", {}, 0),
        _prompt(pipeline, loading.family_of(pipeline)),
    )
    try:
        beside = generate(pipeline, model, prompts, 0, schedule)
    except Exception as error:
        if is_out_of_memory(error):
            return None  # a study that runs into it halves its batches by itself
        return True
    return _difference(beside[-1:], plain) > most_levels(loading.dtype_of(pipeline))


def _check_image(image: Tensor, pipeline: Any, model: ModelSpec) -> None:
    """That an image holds numbers, and has the size that is asked for."""
    if not bool(torch.isfinite(image).all()):
        raise ModelError(
            f"model {model.name}: its image holds values that are no numbers (NaN or infinity). Use another dtype, such as "
            "float32, or check its weights."
        )
    height, width = image.shape[2:]
    asked = (model.height or height, model.width or width)
    if asked != (height, width):
        raise ModelError(
            f"model {model.name}: {type(pipeline).__name__} makes an image of {width} x {height} px where {asked[1]} x "
            f"{asked[0]} px is asked for. Give width = {width} and height = {height}, or leave both out."
        )


def _fewest(scheduler: Any) -> int:
    """Two steps; four where the scheduler's own start takes that many (PNDM with Runge-Kutta steps)."""
    prk = type(scheduler).__name__ == "PNDMScheduler" and not scheduler.config.skip_prk_steps
    return 4 if prk else STEPS


def _prompt(pipeline: Any, family: loading.Family) -> Prompt:
    """A prompt that the model takes: words, or its first label."""
    labels = getattr(pipeline, "labels", None) or {}
    text = next(iter(labels), "0") if family.takes == "label" else "a photo of a red cat"
    return Prompt("trial", text, "", "", {}, 0)


def _difference(images: Tensor, others: Tensor) -> float:
    """Mean absolute difference in levels of 255; of two sizes, infinite."""
    if images.shape != others.shape:
        return float("inf")
    return float((images.float().cpu() - others.float().cpu()).abs().mean()) * 255


def _same_bits(plain: Tensor, watched: Tensor, sample: Callable[[], Tensor]) -> bool | None:
    if torch.equal(plain, watched):
        return True
    return False if torch.equal(plain, sample()) else None


def _ends_clean(scheduler: Any) -> bool:
    """Whether the scheduler's last step leaves no noise, so that its result is x0."""
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None:
        return float(sigmas[-1]) == bool(getattr(scheduler.config, "invert_sigmas", False))
    final = getattr(scheduler, "final_alpha_cumprod", None)
    return final is None or float(final) == 1


def _next_step(views: list[StepView]) -> float | None:
    """How far the scales of x_(t-1), in x0 and the noise, are from the next step's; None where no step can tell."""
    worst: float | None = None
    for view, following in pairwise(views):
        scales = _scales(view)
        if scales is not None:
            signal, noise = scales
            # in units of the next step's x_t, whose scales may be large in sigma space
            size = max(1.0, following.sigma)
            miss = max(abs(signal - following.alpha), abs(noise - following.sigma)) / size
            worst = max(worst or 0.0, miss)
    return worst


def _scales(view: StepView) -> tuple[float, float] | None:
    """The factors of x0 and the noise in x_(t-1), by least squares; None where it has a part outside their plane."""
    clean = view.denoised.double().flatten()
    if view.sigma == 0:
        return None
    noise = (view.latents.double().flatten() - view.alpha * clean) / view.sigma
    target = view.next_latents.double().flatten()
    basis = torch.stack([clean, noise], 1)
    solved = torch.linalg.lstsq(basis, target[:, None]).solution
    outside = float((basis @ solved - target[:, None]).norm() / target.norm())
    most = IN_PLANE.get(view.prediction.dtype, IN_PLANE_HALF)
    return None if outside > most else (float(solved[0]), float(solved[1]))
