"""TrigFlow: a denoiser of a flow that knows the image leads to the velocity on the circle that knows it."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from diffusers import DDIMScheduler, SCMScheduler

from pipeline.diffusion import redraw as redrawing
from pipeline.diffusion.generate import generate
from pipeline.diffusion.noise import spread_of
from pipeline.diffusion.redraw import record, redraw
from pipeline.diffusion.trigflow import flow_latents, velocity
from pipeline.errors import ModelError
from pipeline.models import loading
from pipeline.preflight.models import check_scheduler, inspect_model
from tests.support.families import pipeline_of, prompts_of, spec

SHAPE = (2, 4, 8, 8)


@pytest.mark.parametrize("angle", [1.57, 1.0, 0.3])
def test_a_perfect_flow_is_a_perfect_velocity(angle):
    clean, noise = (torch.randn(SHAPE, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    x = math.cos(angle) * clean + math.sin(angle) * noise
    s = torch.full((2,), math.sin(angle) / (math.sin(angle) + math.cos(angle)))
    noisy = flow_latents(x, s)
    assert torch.allclose(noisy, (1 - s[0]) * clean + s[0] * noise, atol=1e-5)
    expected = math.cos(angle) * noise - math.sin(angle) * clean
    assert torch.allclose(velocity(noise - clean, noisy, s), expected, atol=1e-5)


def test_only_noise_on_the_circle_has_another_deviation():
    assert spread_of(SCMScheduler(sigma_data=0.5)) == 0.5
    assert spread_of(DDIMScheduler()) == 1
    taken_over = DDIMScheduler.from_config({"prediction_type": "trigflow"})
    assert spread_of(taken_over) == 1


def test_an_image_is_drawn_anew_from_noise_of_its_deviation(root, monkeypatch):
    """With sigma_data = 0.5, a unit of noise would be twice the scheduler's."""
    pipeline, model = pipeline_of("sana-sprint"), spec("sana-sprint")
    module, scheduler = loading.denoiser_of(pipeline), pipeline.scheduler
    run = partial(generate, pipeline, model, prompts_of("sana-sprint"), seed=0, schedule={})
    plain, inputs = record(module, scheduler, run), []
    hook = module.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    monkeypatch.setattr(
        redrawing, "noised", lambda latents, level, seed: level.sigma * torch.ones_like(latents)
    )
    redraw(module, scheduler, run, plain, 1, 1)
    hook.remove()
    level = plain.levels[1]
    s = torch.tensor([level.sigma / (level.sigma + level.alpha)])
    assert torch.allclose(inputs[1], flow_latents(level.sigma * torch.ones_like(inputs[1]), s))


def test_schedulers_without_angles_and_schedules_of_training_steps_are_refused(root):
    model = inspect_model(spec("sana-sprint", scheduler="DDIMScheduler"))
    with pytest.raises(ModelError, match="'DDIMScheduler' has no timesteps that are angles"):
        check_scheduler(model)
    model = inspect_model(spec("sana-sprint", schedule="early"))
    with pytest.raises(ModelError, match="the timesteps of SCMScheduler are angles"):
        check_scheduler(model)
