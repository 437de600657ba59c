"""Where a denoising step stands on the noise schedule, and the clean image its prediction implies.

Notation: x = alpha x0 + sigma eps. Schedulers of diffusers keep their noise level in four ways, told apart by
what they carry, never by their class name:

* variance-preserving, indexed by timestep (DDIM, DDPM, PNDM, LCM, TCD): `alphas_cumprod[timestep]`;
* variance-preserving, indexed by `step_index` (DPM-Solver++, DEIS, UniPC, SA-Solver): `_sigma_to_alpha_sigma_t`;
* variance-preserving, whose timestep is an angle (sCM): its cosine and sine;
* sigma-space (LMS, Euler, Heun, KDPM2, EDM), alpha = 1, or flow matching, alpha = 1 - sigma: `sigmas[step_index]`.
"""

from __future__ import annotations

import copy
import inspect
import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.models.prediction import is_flow, prediction_type


@dataclass(frozen=True)
class NoiseLevel:
    """The noise level of one denoiser call: x = alpha x0 + sigma eps.

    `kind` is "vp" (alpha^2 + sigma^2 = 1), "sigma" (alpha = 1), "edm" (alpha = 1, preconditioned), "flow" (alpha + sigma = 1) or
    "image flow" (the same, predicting the way to the image and not to the noise).
    """

    alpha: float
    sigma: float
    kind: str

    @property
    def log_snr(self) -> float:
        """ln(alpha^2 / sigma^2); clipped to [-60, 60], the ends standing for pure noise and no noise."""
        if self.sigma <= 0:
            return 60.0
        if self.alpha <= 0:
            return -60.0
        return max(-60.0, min(60.0, 2 * math.log(self.alpha / self.sigma)))


def noise_level(scheduler: Any, timestep: Tensor | float) -> NoiseLevel:
    """The noise level at which the denoiser was called, just before `scheduler.step` for that call.

    Raises:
        ModelError: the scheduler keeps its noise level in no way that is known.
    """
    if isinstance(timestep, Tensor) and timestep.ndim:
        timestep = timestep[0]  # one for each item, all the same
    if hasattr(scheduler, "sigmas") and hasattr(scheduler, "step_index"):
        sigma = _current_sigma(scheduler, timestep)
        if hasattr(scheduler, "precondition_outputs"):
            return NoiseLevel(1.0, sigma, "edm")
        if hasattr(scheduler, "_sigma_to_alpha_sigma_t"):
            alpha, sigma_t = scheduler._sigma_to_alpha_sigma_t(torch.as_tensor(sigma))
            kind = "flow" if is_flow(scheduler) else "vp"
            return NoiseLevel(float(alpha), float(sigma_t), kind)
        if is_flow(scheduler):
            if getattr(
                scheduler.config, "invert_sigmas", False
            ):  # its table holds the signal's scale
                return NoiseLevel(sigma, 1 - sigma, "image flow")
            return NoiseLevel(1 - sigma, sigma, "flow")
        return NoiseLevel(1.0, sigma, "sigma")
    if hasattr(scheduler, "alphas_cumprod"):
        signal = float(scheduler.alphas_cumprod[int(timestep)])
        return NoiseLevel(math.sqrt(signal), math.sqrt(1 - signal), "vp")
    if has_angles(scheduler):
        angle = float(timestep)
        return NoiseLevel(math.cos(angle), math.sin(angle), "vp")
    raise ModelError(
        f"scheduler {type(scheduler).__name__} keeps neither sigmas nor alphas_cumprod, so the clean image of a step "
        "cannot be derived. Choose another scheduler for this model."
    )


def spread_of(scheduler: Any) -> float:
    """The deviation of the noise that a scheduler adds at a noise scale of 1: sigma_data on the circle of sCM, else 1."""
    return float(scheduler.config.sigma_data) if has_angles(scheduler) else 1.0


def has_angles(scheduler: Any) -> bool:
    """Whether a scheduler's timesteps are angles on a circle (sCM); others may have taken `trigflow` into their configuration."""
    declared = getattr(scheduler.config, "prediction_type", "") == "trigflow"
    return declared and not hasattr(scheduler, "alphas_cumprod")


def denoise(
    scheduler: Any,
    level: NoiseLevel,
    latents: Float[Tensor, "b c h w"],
    prediction: Float[Tensor, "b c2 h w"],
) -> Float[Tensor, "b c h w"]:
    """The predicted clean latents x0 of a step (docs/methods.md, "Predicted clean image").

    A prediction with twice the channels carries a learned variance in its second half, which is left out. Clipping and
    thresholding are applied where the scheduler's configuration asks for them, as the scheduler itself does.
    """
    x0 = unclipped(scheduler, level, latents, prediction)
    if getattr(scheduler.config, "thresholding", False):
        return scheduler._threshold_sample(x0)
    if getattr(scheduler.config, "clip_sample", False) and _clips(scheduler.__class__):
        limit = getattr(scheduler.config, "clip_sample_range", 1.0)
        return x0.clamp(-limit, limit)
    return x0


@cache
def _clips(kind: type) -> bool:
    """Whether a scheduler's step reads `clip_sample`; some only keep it in their configuration (TCD, CogVideoX)."""
    steps = (inspect.unwrap(vars(each)["step"]) for each in kind.__mro__ if "step" in vars(each))
    return any("clip_sample" in step.__code__.co_names for step in steps)


def unclipped(
    scheduler: Any,
    level: NoiseLevel,
    latents: Float[Tensor, "b c h w"],
    prediction: Float[Tensor, "b c2 h w"],
) -> Float[Tensor, "b c h w"]:
    """The clean latents x0 of `denoise` without the scheduler's clipping and thresholding: linear in the prediction."""
    v = prediction[:, : latents.shape[1]]
    return _clean(scheduler, level, latents, v, prediction_type(scheduler))


def _clean(scheduler: Any, level: NoiseLevel, x: Tensor, v: Tensor, meaning: str) -> Tensor:
    alpha, sigma = level.alpha, level.sigma
    if level.kind == "edm":
        return scheduler.precondition_outputs(x, v, torch.as_tensor(sigma))
    if meaning == "flow":
        return x + sigma * v if level.kind == "image flow" else x - sigma * v
    if meaning == "sample":
        return v
    if meaning == "epsilon":
        return (x - sigma * v) / alpha
    norm = math.hypot(alpha, sigma)  # 1 in a variance-preserving space; brings sigma-space x to it
    return (alpha * x / norm - sigma * v) / norm


def _current_sigma(scheduler: Any, timestep: Tensor | float) -> float:
    """The sigma of the call at hand; `step_index` is unset before the first step, so a copy is asked to find it."""
    if scheduler.step_index is None:
        scheduler = copy.copy(scheduler)
        scheduler._init_step_index(torch.as_tensor(timestep))
    index = scheduler.step_index
    if getattr(scheduler, "state_in_first_order", True):
        return float(scheduler.sigmas[index])
    if hasattr(scheduler, "sigmas_interpol"):  # KDPM2 evaluates its second call between two sigmas
        ancestral = hasattr(scheduler, "sigmas_up")  # whose list is not interleaved in the same way
        return float(scheduler.sigmas_interpol[index - 1 if ancestral else index])
    if type(scheduler).__name__ == "DPMSolverSDEScheduler":  # midpoint in log sigma
        return math.sqrt(float(scheduler.sigmas[index - 1]) * float(scheduler.sigmas[index]))
    return float(scheduler.sigmas[index])


def second_call(scheduler: Any) -> bool:
    """True when the call at hand is the second evaluation of a second-order step (Heun, KDPM2)."""
    return not getattr(scheduler, "state_in_first_order", True)
