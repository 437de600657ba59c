"""Critical windows: redraws are those of a loop by hand, and a mixture's window is where theory says."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, PNDMScheduler
from diffusers.schedulers import HeunDiscreteScheduler
from scipy.stats import norm

from pipeline.demo.outcomes import SceneJudge
from pipeline.demo.scenes import COLOURS, OBJECTS, caption, compose, sample_scene
from pipeline.diffusion.generate import generate
from pipeline.diffusion.noise import NoiseLevel
from pipeline.diffusion.redraw import noised, record, redraw, unfit
from pipeline.explain.windows import count_kept, nearest
from pipeline.models import loading
from pipeline.study.prompts import Prompt
from pipeline.study.spec import ModelSpec, ToolSpec
from pipeline.study.windows import window_calls

TEXT = "a cat left of a rocket on a striped green background"
STEPS, GUIDANCE = 5, 4.0


def prompt(text):
    return Prompt("key", text, "test", "", {}, 0)


def by_hand(pipeline, latents, level, step, seed):
    """Classifier-free guidance from a step on, with a scheduler that begins there."""
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(STEPS)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(step)
    embeds, without = pipeline.encode_prompt([TEXT], "cpu", 1, True)
    x = noised(latents, level, seed)
    for t in scheduler.timesteps[step:]:
        both = pipeline.unet(torch.cat([x, x]), t, torch.cat([without, embeds])).sample
        uncond, cond = both.chunk(2)
        x = scheduler.step(uncond + GUIDANCE * (cond - uncond), t, x).prev_sample
    return loading.decode(pipeline, x)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "DPMSolverMultistepScheduler"])
@torch.no_grad()
def test_a_redraw_is_that_of_a_loop_by_hand(scheduler):
    """Also for a scheduler with a history, which begins anew."""
    model = ModelSpec(
        "m", "m", "data/models/scenes-unet", scheduler=scheduler, steps=STEPS, guidance=GUIDANCE
    )
    pipeline = loading.open_pipeline(model, torch.device("cpu"))
    run = partial(generate, pipeline, model, [prompt(TEXT)], 3, {})
    plain = record(pipeline.unet, pipeline.scheduler, run)
    assert torch.equal(plain.images, run())
    levels = [level.log_snr for level in plain.levels]
    assert levels == sorted(levels) and len(levels) == STEPS
    for step in (1, 3):
        images = redraw(pipeline.unet, pipeline.scheduler, run, plain, step, 7)
        expected = by_hand(pipeline, plain.latents, plain.levels[step], step, 7)
        assert (images - expected).abs().max() < 1e-4
        assert not torch.equal(
            images, redraw(pipeline.unet, pipeline.scheduler, run, plain, step, 8)
        )
    assert redraw(pipeline.unet, pipeline.scheduler, run, plain, STEPS, 7) is plain.images
    assert torch.equal(plain.images, run())
    assert "forward" not in vars(pipeline.unet) and "step" not in vars(pipeline.scheduler)


class Mixture(torch.nn.Module):
    """The exact noise prediction for pixels that are -1 or 1, each half of the time."""

    def forward(self, x, alpha, sigma):
        clean = torch.tanh(alpha * x / sigma**2)
        return (x - alpha * clean) / sigma


def test_the_window_of_a_mixture_is_where_theory_says():
    """Noised to x = alpha s + sigma eps, the flow ends at the sign of x: s is kept with probability Phi(alpha / sigma)."""
    scheduler, module = DDIMScheduler(num_train_timesteps=1000, clip_sample=False), Mixture()
    steps = 25
    scheduler.set_timesteps(steps)

    def run():
        x = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
        for t in scheduler.timesteps:
            signal = scheduler.alphas_cumprod[t]
            x = scheduler.step(module(x, signal.sqrt(), (1 - signal).sqrt()), t, x).prev_sample
        return x.expand(1, 3, 128, 128)

    plain = record(module, scheduler, run)
    for step in (1, 8, 12, 16, 20):
        level = plain.levels[step]
        again = redraw(module, scheduler, run, plain, step, 5)
        share = float((again.sign() == plain.images.sign()).float().mean())
        assert share == pytest.approx(norm.cdf(level.alpha / level.sigma), abs=0.02), step
    assert share > 0.8  # most of the window is covered


def test_noise_does_not_depend_on_the_batch():
    latents = torch.arange(8.0).view(2, 1, 2, 2)
    level = NoiseLevel(0.6, 0.8, "vp")
    assert torch.equal(noised(latents, level, 1)[1:], noised(latents[1:], level, 1))
    assert not torch.equal(noised(latents, level, 1), noised(latents, level, 2))


def test_schedulers_that_cannot_begin_anywhere_are_named():
    assert "twice a step" in unfit(HeunDiscreteScheduler)
    assert "earlier steps" in unfit(PNDMScheduler)
    assert unfit(DPMSolverMultistepScheduler) == unfit(DDIMScheduler) == ""


def test_what_is_kept_is_counted():
    finished = {"colour": 2, "object": frozenset({1})}
    again = [{"colour": 2}, {"colour": 3, "object": frozenset({1})}, {"colour": 2}]
    assert count_kept(finished, again, "colour") == 2 and count_kept(finished, again, "object") == 1
    assert count_kept(finished, again, "size") is None


def test_the_scorers_reading_is_the_nearest_of_a_family():
    families = ["colour", "object", "colour", "count"]
    read = nearest(torch.tensor([0.1, 0.9, 0.3, 0.2]), families)
    assert read == {"colour": 2}  # of one alone nothing is read


def test_the_judge_reads_what_is_composed():
    """The attributes that it reads off composed scenes are those of the scenes, in most of them."""
    read, rng = (
        SceneJudge(Path("data/models/scenes-judge"), torch.device("cpu")).reads,
        np.random.default_rng(0),
    )
    scenes = [sample_scene(rng) for _ in range(24)]
    pictures = np.stack([compose(scene, rng)[0] for scene in scenes])
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    readings = read(images, [caption(scene) for scene in scenes])
    right = [
        reading["object"] == frozenset(OBJECTS.index(name) for name in scene.objects)
        and reading["colour"] == list(COLOURS).index(scene.colour)
        and ("relation" in reading) == (scene.relation is not None)
        for scene, reading in zip(scenes, readings, strict=True)
    ]
    assert np.mean(right) > 0.85
    assert read(images[:1], ["no caption of the grammar"]) == [{}]


def test_the_price_is_that_of_what_is_not_shared():
    tool = ToolSpec(steps=(0, 2, 4), options={"redraws": 3})
    assert tool.after_start(6) == (2, 4)
    assert window_calls(tool, 6) == 6 + 3 * (4 + 2)
