"""x0 and noise levels of every scheduler that the demo pipelines can take.

Two independent checks. Where a scheduler returns its own x0 ("pred_original_sample"), ours must equal it. For all of them:
a perfect denoiser, built on our noise level and always pointing at one clean image, must lead the scheduler's own
arithmetic to that image; a wrong alpha, sigma or timestep would lead elsewhere.
"""

import pytest
import torch

from pipeline.diffusion.noise import NoiseLevel, denoise, noise_level, second_call
from pipeline.errors import ModelError
from pipeline.models.prediction import prediction_type
from tests.support.schedulers import FLOW, KARRAS, OTHERS, make


def perfect_prediction(scheduler, level: NoiseLevel, x, clean):
    """What a denoiser that knows the clean image would return, from the definitions alone."""
    eps = (x - level.alpha * clean) / level.sigma
    kind = prediction_type(scheduler)
    if level.kind == "edm":
        data = scheduler.config.sigma_data
        total = level.sigma**2 + data**2
        skip, out = data**2 / total, level.sigma * data / total**0.5
        out = -out if kind == "v_prediction" else out
        return (clean - skip * x) / out
    if kind == "flow":
        return eps - clean
    if kind == "sample":
        return clean
    if kind == "epsilon":
        return eps
    norm = (level.alpha**2 + level.sigma**2) ** 0.5
    return (level.alpha * eps - level.sigma * clean) / norm


def run(scheduler, predict, steps=12):
    """Drive a scheduler as a pipeline does; yields (level, x, prediction, step output)."""
    scheduler.set_timesteps(steps)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 8, 8, generator=generator) * getattr(scheduler, "init_noise_sigma", 1.0)
    for t in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(x, t)
        level = noise_level(scheduler, t)
        v = predict(level, x)
        out = scheduler.step(v, t, x)
        yield level, x, v, out
        x = out.prev_sample


# What a scheduler's own step refuses (NotImplementedError or ValueError in diffusers), or has no meaning.
WITHOUT_SAMPLE = {
    "PNDMScheduler", "EulerAncestralDiscreteScheduler", "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler", "HeunDiscreteScheduler", "DPMSolverSDEScheduler",
    "EDMEulerScheduler", "EDMDPMSolverMultistepScheduler", "LCMScheduler", "TCDScheduler",
}  # fmt: skip
CASES = [
    *((name, prediction) for name in KARRAS + OTHERS for prediction in ("epsilon", "v_prediction")),
    *((name, "sample") for name in KARRAS + OTHERS if name not in WITHOUT_SAMPLE),
    *((name, "flow") for name in FLOW),
]


@pytest.mark.parametrize(("name", "prediction"), CASES)
def test_a_perfect_denoiser_leads_to_the_clean_image(name, prediction):
    scheduler = make(name, prediction)
    clean = torch.linspace(-1, 1, 2 * 4 * 8 * 8).view(2, 4, 8, 8)
    trace = list(run(scheduler, lambda level, x: perfect_prediction(scheduler, level, x, clean)))
    for level, x, v, _ in trace:
        x0 = denoise(scheduler, level, x, v)
        assert torch.allclose(x0, clean, atol=2e-3), (name, level)
    last = trace[-1][3].prev_sample
    noise_left = {"SASolverScheduler": 0.2, "DPMSolverSDEScheduler": 0.2}.get(name, 0.06)
    assert (last - clean).abs().mean() < noise_left, f"{name}: {(last - clean).abs().mean():.3f}"


@pytest.mark.parametrize("name", KARRAS + OTHERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_x0_equals_the_schedulers_own(name, prediction):
    scheduler = make(name, prediction)
    network = torch.Generator().manual_seed(1)
    seen = 0
    for level, x, v, out in run(
        scheduler, lambda level, x: torch.randn(x.shape, generator=network)
    ):
        denoised = getattr(out, "pred_original_sample", None)
        if denoised is not None:
            seen += 1
            x0 = denoise(scheduler, level, x, v)
            assert torch.allclose(x0, denoised, rtol=1e-3, atol=1e-3 * denoised.abs().max().item())
    has_own = {
        "DDIMScheduler", "DDPMScheduler", "LMSDiscreteScheduler", "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler", "EDMEulerScheduler",
        "DDIMParallelScheduler", "DDPMParallelScheduler",
    }  # fmt: skip
    if name in has_own:
        assert seen > 0


def test_clipping_is_that_of_the_scheduler():
    scheduler = make("DDIMScheduler", clip_sample=True)
    noise = torch.Generator().manual_seed(2)
    for level, x, v, out in run(scheduler, lambda level, x: torch.randn(x.shape, generator=noise)):
        x0 = denoise(scheduler, level, x, v)
        assert torch.allclose(x0, out.pred_original_sample, atol=1e-5)
        assert x0.abs().max() <= 1


def test_learned_variance_is_left_out():
    scheduler = make("DDIMScheduler")
    level = NoiseLevel(0.8, 0.6, "vp")
    x, v = torch.randn(1, 4, 8, 8), torch.randn(1, 8, 8, 8)
    assert torch.equal(denoise(scheduler, level, x, v), denoise(scheduler, level, x, v[:, :4]))


@pytest.mark.parametrize("name", ["HeunDiscreteScheduler", "KDPM2DiscreteScheduler"])
def test_second_order_steps_have_two_calls(name):
    scheduler = make(name)
    calls = []
    scheduler.set_timesteps(5)
    x = torch.randn(1, 4, 8, 8)
    for t in scheduler.timesteps:
        calls.append(2 if second_call(scheduler) else 1)
        x = scheduler.step(torch.zeros_like(x), t, x).prev_sample
    assert calls[:4] == [1, 2, 1, 2] and len(calls) == 9


def test_unknown_prediction_type_is_a_clear_error():
    scheduler = make("DDIMScheduler")
    scheduler.register_to_config(prediction_type="magic")
    with pytest.raises(ModelError, match="'magic' is not known"):
        prediction_type(scheduler)


def test_log_snr_is_finite_at_both_ends():
    assert NoiseLevel(1.0, 0.0, "vp").log_snr == 60
    assert NoiseLevel(0.0, 1.0, "vp").log_snr == -60
    assert NoiseLevel(0.6, 0.6, "vp").log_snr == 0
