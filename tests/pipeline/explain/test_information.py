"""Information per word: nothing from a denoiser that ignores the prompt, a Gaussian's closed form, and predictions by hand."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from pipeline.diffusion.generate import generate
from pipeline.diffusion.redraw import noised
from pipeline.diffusion.watch import Batch, Watch
from pipeline.explain.information import (
    Information,
    information_calls,
    measured_words,
    trapezoid_weights,
    without_word,
)
from pipeline.models import loading
from pipeline.models.scorer import Scorer
from pipeline.study.prompts import Prompt
from pipeline.study.spec import ModelSpec, ScorerSpec, ToolSpec

TEXT = "a cat left of a rocket on a striped green background"
STEPS = 4


@pytest.fixture(scope="module")
def scorer():
    return Scorer(ScorerSpec("data/models/scenes-clip"))


def prompt(text, position=0):
    return Prompt(text, text, "test", "", {"subject": ("cat",)}, position)


def measured(pipeline, scorer, texts, spec, **options):
    """A watched run and what is measured of it. Returns: rows by item, the observer."""
    model = ModelSpec("m", "m", "", **({"steps": STEPS, "guidance": 4.0} | options))
    prompts = tuple(prompt(text, i) for i, text in enumerate(texts))
    family = loading.family_of(pipeline)
    batch = Batch(prompts, 3, pipeline, family, scorer, STEPS, True, model.guidance)
    sample = partial(generate, pipeline, model, seed=3, schedule={})
    information = Information(batch, spec, sample)
    with Watch(batch, [information]):
        images = sample(prompts)
    information.measure(images)
    return [information.columns(i)["information"] for i in range(len(texts))], information


def bundled(name):
    return loading.open_pipeline(
        ModelSpec(name, name, f"data/models/{name}", steps=STEPS), torch.device("cpu")
    )


def test_a_denoiser_that_ignores_the_prompt_gives_exactly_nothing(scorer):
    """Default settings, two prompts of different length in a batch."""
    pipeline = bundled("scenes-unet")
    for name, layer in pipeline.unet.named_modules():
        if name.endswith("attn2.to_out.0"):
            torch.nn.init.zeros_(layer.weight)
    rows, _ = measured(pipeline, scorer, ["a red cat", "a cat"], ToolSpec())
    assert [len(words) for words in rows] == [3, 2]
    for word in rows[0] + rows[1]:
        assert word["nats"] == word["signed_nats"] == word["change"] == word["effect"] == 0
        assert word["density"] == word["signed"] == [0.0] * STEPS and word["map"] is None


@pytest.mark.parametrize("name", ["scenes-unet", "scenes-dit"])
def test_densities_are_those_of_predictions_by_hand(scorer, name):
    """Half the squared difference of two noise predictions, without guidance, on the finished latents noised to each level."""
    pipeline = bundled(name)
    rows, information = measured(
        pipeline, scorer, [TEXT], ToolSpec(options={"words": ("Cat",), "maps": True})
    )
    (word,) = rows[0]
    assert (word["word"], word["role"], word["word_index"]) == ("cat", "subject", 1)
    clean, module = information.latents, loading.denoiser_of(pipeline)
    for step, density in zip(word["steps"], word["density"], strict=True):
        call = information.calls[step]
        noisy = noised(clean, call.level, information._seed(step, 0))
        first, second = (
            noise_by_hand(pipeline, module, call, noisy, text)
            for text in (TEXT, without_word(TEXT, 1))
        )
        expected = 0.5 * float((first - second).square().sum())
        assert density == pytest.approx(expected, rel=1e-3, abs=1e-6), step
    if name == "scenes-dit":  # pure noise has no place on the axis
        assert word["steps"] == [1, 2, 3]
    values = np.frombuffer(word["map"], np.float16).astype(float)
    total = (word["low"] + values * (word["high"] - word["low"])).sum()
    assert total == pytest.approx(word["nats"], rel=1e-2)


@torch.no_grad()
def noise_by_hand(pipeline, module, call, noisy, text):
    if hasattr(pipeline, "unet"):
        embeds, _ = pipeline.encode_prompt([text], "cpu", 1, False)
        return module(noisy, call.timestep, embeds).sample
    embeds, _, pooled, _ = pipeline.encode_prompt(
        text, text, text, do_classifier_free_guidance=False, max_sequence_length=1
    )
    velocity = module(
        noisy,
        timestep=call.timestep[None],
        encoder_hidden_states=embeds,
        pooled_projections=pooled,
    ).sample
    return noisy + call.level.alpha * velocity


SPREAD, REST = 2.0, 0.25  # variance of what the word decides of a pixel, and of what it leaves open


class Gaussian(torch.nn.Module):
    """The exact noise prediction for pixels m + n, m ~ N(0, SPREAD), n ~ N(0, REST), where the prompt may tell m."""

    config = type("Config", (), {"sample_size": 32, "get": staticmethod(lambda *_: 32)})()

    def __init__(self, scheduler):
        super().__init__()
        self.scheduler = scheduler

    def forward(self, x, timestep, encoder_hidden_states):
        signal = self.scheduler.alphas_cumprod[int(timestep)]
        alpha, variance = signal.sqrt(), 1 - signal
        known, mean = encoder_hidden_states[:, :1], encoder_hidden_states[:, 1:]
        prior = torch.where(known > 0, REST, SPREAD + REST)
        clean = (alpha * prior * x + variance * mean * known) / (signal * prior + variance)
        return (x - alpha * clean) / variance.sqrt()


class StableDiffusionPipeline:
    """The loop of a pipeline of that family, in pixels of four channels; only the word "bright" tells the mean."""

    guidance_scale = 1.0

    def __init__(self):
        self.scheduler = DDIMScheduler(num_train_timesteps=1000, clip_sample=False)
        self.unet = Gaussian(self.scheduler)
        self.mean = math.sqrt(SPREAD) * torch.randn(
            4, 32, 32, generator=torch.Generator().manual_seed(8)
        )
        self.components = {"unet": self.unet}

    def sample(self, prompts, steps):
        known = torch.tensor([float("bright" in p.text) for p in prompts]).view(-1, 1, 1, 1)
        condition = torch.cat([known.expand(-1, 1, 32, 32), known * self.mean], 1)
        self.scheduler.set_timesteps(steps)
        x = torch.randn(len(prompts), 4, 32, 32, generator=torch.Generator().manual_seed(0))
        for t in self.scheduler.timesteps:
            x = self.scheduler.step(self.unet(x, t, condition), t, x).prev_sample
        return x[:, :3].clamp(0, 1)


def test_the_information_of_a_gaussian_is_its_closed_form(scorer):
    """1/2 log(1 + snr V) - 1/2 log(1 + snr v) a pixel, V the variance without the word and v with it, between the two end levels."""
    pipeline, steps = StableDiffusionPipeline(), 100
    family = loading.family_of(pipeline)
    prompts = (prompt("bright noise"),)
    batch = Batch(prompts, 0, pipeline, family, scorer, steps, False, 1.0)
    sample = partial(pipeline.sample, steps=steps)
    information = Information(batch, ToolSpec(options={"maps": True}), sample)
    with Watch(batch, [information]):
        images = sample(prompts)
    rest = math.sqrt(REST) * torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(9))
    information.latents = pipeline.mean + rest  # a draw of the very distribution
    information.measure(images)
    bright, noise = information.columns(0)["information"]
    assert noise["nats"] == noise["signed_nats"] == 0
    snr = [math.exp(call.level.log_snr) for call in information.calls.values()]
    expected = 0.5 * 4 * 32 * 32 * (closed(max(snr)) - closed(min(snr)))
    positions = np.frombuffer(bright["map"], np.float16).astype(float)
    error = positions.std() * (bright["high"] - bright["low"]) * math.sqrt(len(positions))
    assert error < 0.03 * expected
    assert bright["nats"] == pytest.approx(expected, abs=3 * error)
    assert bright["signed_nats"] == pytest.approx(expected, rel=0.1)
    whole = 0.5 * 4 * 32 * 32 * math.log(1 + SPREAD / REST)  # I(x; word), over all levels
    assert 0.85 * whole < expected < whole


def closed(snr):
    return math.log(1 + snr * (SPREAD + REST)) - math.log(1 + snr * REST)


def test_weights_are_those_of_trapezoids():
    weights = trapezoid_weights({0: -4.0, 1: 0.0, 2: -1.0, 3: 5.0})
    assert weights == {0: 1.5, 1: 3.0, 2: 2.0, 3: 2.5} and sum(weights.values()) == 9
    assert trapezoid_weights({5: 1.0}) == {5: 0.0} and trapezoid_weights({}) == {}


def test_words_that_are_left_out():
    assert without_word("a  cat, near a dog", 1) == "a near a dog" and without_word("cat", 0) == ""
    spec = ToolSpec(prompts=1, options={"words": ("cat", "A")})
    assert measured_words(prompt("a Cat, near a dog"), spec) == [0, 1, 3]
    assert measured_words(prompt("a cat", 1), spec) == []
    assert measured_words(prompt("a cat near"), ToolSpec()) == [0, 1, 2]


def test_the_price_is_one_image_and_two_predictions_a_level():
    assert information_calls(prompt("a cat near"), ToolSpec(), 20) == 3 * 20 + 20 * (1 + 3)
    spec = ToolSpec(steps=(0, 5), options={"draws": 3, "words": ("cat",)})
    assert information_calls(prompt("a cat near"), spec, 20) == 20 + 3 * 2 * (1 + 1)
    assert information_calls(prompt("a dog"), spec, 20) == 0
    assert information_calls(prompt("a cat", 4), replace(spec, prompts=4), 20) == 0


def test_what_a_word_tells_does_not_depend_on_its_batch(scorer):
    pipeline, spec = bundled("scenes-unet"), ToolSpec(steps=(1, 2), options={"words": ("cat",)})
    together, _ = measured(pipeline, scorer, [TEXT, "a cat"], spec)
    for text, words in zip((TEXT, "a cat"), together, strict=True):
        alone, _ = measured(pipeline, scorer, [text], spec)
        assert words[0]["nats"] == pytest.approx(alone[0][0]["nats"], rel=1e-3)
