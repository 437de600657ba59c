"""Watching: the image's bits never change, hooks come off, and a captured call can be replayed."""

import io

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
)
from PIL import Image

from pipeline.diffusion.generate import count_calls, generate
from pipeline.diffusion.observers import FrameObserver, ImageObserver, StepObserver, encode, gather
from pipeline.diffusion.watch import Batch, Watch
from pipeline.models import loading
from pipeline.models.scorer import Scorer
from pipeline.study.prompts import Prompt
from pipeline.study.spec import Frames, ModelSpec, ScorerSpec

MODELS = ["scenes-unet", "scenes-unet-short", "scenes-dit"]
TEXTS = ("a dog on a plain red background", "a cat left of a rocket on a striped green background")
PROMPTS = tuple(Prompt(f"key{i}", text, "test", "", {}, i) for i, text in enumerate(TEXTS))


def spec(name, **options):
    return ModelSpec(name, name, f"data/models/{name}", **{"steps": 4, "guidance": 3.0} | options)


@pytest.fixture(scope="module")
def scorer():
    return Scorer(ScorerSpec("data/models/scenes-clip"))


@pytest.fixture(scope="module")
def pipelines():
    return {name: loading.open_pipeline(spec(name), torch.device("cpu")) for name in MODELS}


class Recorder:
    """Keeps every view, and replays each call while the step is at hand."""

    def __init__(self):
        self.views, self.replays = [], []

    def on_step(self, view):
        self.views.append(view)
        self.replays.append(view.denoiser.replay())

    def columns(self, item):
        return {}


def batch_of(pipeline, scorer, model, prompts=PROMPTS):
    total = count_calls(pipeline.scheduler, model.steps, {})
    family = loading.family_of(pipeline)
    return Batch(prompts, 0, pipeline, family, scorer, total, model.guidance > 1)


def watched(pipeline, scorer, model, observers, prompts=PROMPTS):
    with Watch(batch_of(pipeline, scorer, model, prompts), observers):
        return generate(pipeline, model, prompts, 0, {})


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_watching_never_changes_a_bit(pipelines, scorer, name, guidance):
    model = spec(name, guidance=guidance)
    plain = generate(pipelines[name], model, PROMPTS, 0, {})
    seen = watched(pipelines[name], scorer, model, [Recorder(), FrameObserver(Frames())])
    assert torch.equal(plain, seen)
    assert torch.equal(plain, generate(pipelines[name], model, PROMPTS, 0, {}))


SCHEDULERS = [
    DDIMScheduler,
    PNDMScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    HeunDiscreteScheduler,
    DPMSolverMultistepScheduler,
]


def with_and_without_guidance():
    """Each scheduler with or without guidance, in turn; with both under the marker `thorough`."""
    for number, scheduler in enumerate(SCHEDULERS):
        for index, guidance in enumerate((4.0, 1.0)):
            marks = [] if number % 2 == index else pytest.mark.thorough
            yield pytest.param(guidance, scheduler, marks=marks)


@pytest.mark.long
@pytest.mark.parametrize(("guidance", "scheduler"), list(with_and_without_guidance()))
def test_replay_equals_the_pipelines_own_output_to_the_bit(pipelines, scorer, scheduler, guidance):
    pipeline, before = pipelines["scenes-unet"], pipelines["scenes-unet"].scheduler
    pipeline.scheduler = scheduler.from_config(before.config)
    recorder, model = Recorder(), spec("scenes-unet", guidance=guidance)
    try:
        plain = generate(pipeline, model, PROMPTS, 0, {})
        assert torch.equal(plain, watched(pipeline, scorer, model, [recorder]))
    finally:
        pipeline.scheduler = before
    assert len(recorder.views) == recorder.views[0].total_steps
    for view, replay in zip(recorder.views, recorder.replays, strict=True):
        assert torch.equal(replay, view.prediction)


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_replay_of_the_transformer(pipelines, scorer, guidance):
    recorder = Recorder()
    watched(pipelines["scenes-dit"], scorer, spec("scenes-dit", guidance=guidance), [recorder])
    for view, replay in zip(recorder.views, recorder.replays, strict=True):
        assert torch.equal(replay, view.prediction)


@pytest.mark.parametrize("name", ["scenes-unet", "scenes-dit"])
def test_an_item_replayed_alone_is_the_item_of_the_batch(pipelines, scorer, name):
    class Alone:
        def on_step(self, view):
            for item in range(2):
                latents = view.latents[item : item + 1].expand(3, -1, -1, -1)
                again = view.denoiser(latents, item)
                assert torch.allclose(again, view.prediction[item].expand_as(again), atol=1e-4)

        def columns(self, item):
            return {}

    watched(pipelines[name], scorer, spec(name), [Alone()])


def test_chunks_do_not_matter(pipelines, scorer):
    from dataclasses import replace

    class Chunks:
        def on_step(self, view):
            latents = torch.randn(
                5, *view.latents.shape[1:], generator=torch.Generator().manual_seed(1)
            )
            whole = view.denoiser(latents, 1)
            small = replace(view.denoiser, chunk=2)(latents, 1)
            assert torch.allclose(whole, small, atol=1e-4)

        def columns(self, item):
            return {}

    watched(pipelines["scenes-unet"], scorer, spec("scenes-unet", steps=1), [Chunks()])


def test_last_x0_is_the_final_image(pipelines, scorer):
    """Where the scheduler's last step goes all the way; many stop at the first training timestep's little noise."""
    pipeline, before = pipelines["scenes-unet"], pipelines["scenes-unet"].scheduler
    pipeline.scheduler = DDIMScheduler.from_config(before.config, set_alpha_to_one=True)
    recorder = Recorder()
    try:
        images = watched(pipeline, scorer, spec("scenes-unet", steps=6), [recorder])
    finally:
        pipeline.scheduler = before
    assert torch.allclose(recorder.views[-1].images(), images, atol=1e-4)


def test_hooks_come_off_after_an_exception(pipelines, scorer):
    class Broken:
        def on_step(self, view):
            raise ValueError("broken observer")

    pipeline = pipelines["scenes-unet"]
    with pytest.raises(ValueError, match="broken observer"):
        watched(pipeline, scorer, spec("scenes-unet"), [Broken()])
    assert "step" not in vars(pipeline.scheduler)
    assert not pipeline.unet._forward_pre_hooks


def test_batch_size_changes_an_image_by_rounding_at_most(pipelines):
    model = spec("scenes-unet", steps=6)
    together = generate(pipelines["scenes-unet"], model, PROMPTS, 0, {})
    alone = torch.cat([generate(pipelines["scenes-unet"], model, [p], 0, {}) for p in PROMPTS])
    assert torch.allclose(together, alone, atol=1e-3)


def test_heun_gives_both_calls_a_place(pipelines, scorer):
    pipeline, before = pipelines["scenes-unet"], pipelines["scenes-unet"].scheduler
    pipeline.scheduler = HeunDiscreteScheduler.from_config(before.config)
    steps = StepObserver()
    try:
        watched(pipeline, scorer, spec("scenes-unet", steps=3), [steps])
    finally:
        pipeline.scheduler = before
    rows = steps.columns(0)["steps"]
    assert [row["call"] for row in rows] == [1, 2, 1, 2, 1]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]


def test_noise_falls_from_step_to_step(pipelines, scorer):
    for name in ("scenes-unet", "scenes-dit"):
        steps = StepObserver()
        watched(pipelines[name], scorer, spec(name, steps=5), [steps])
        snr = [row["log_snr"] for row in steps.columns(0)["steps"]]
        assert snr == sorted(snr) and len(set(snr)) == 5


def test_frames_follow_the_stride_and_keep_first_and_last(pipelines, scorer):
    frames = FrameObserver(Frames(stride=3, size=32, quality=80))
    watched(pipelines["scenes-unet"], scorer, spec("scenes-unet", steps=6), [frames])
    rows = frames.columns(1)["frames"]
    assert [row["step"] for row in rows] == [0, 3, 5]
    assert Image.open(io.BytesIO(rows[0]["image"].result())).size == (32, 32)


def test_lossless_encoding_gives_the_pixels_back():
    image = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(0))
    back = np.asarray(Image.open(io.BytesIO(encode(image))).convert("RGB"))
    assert np.array_equal(back, (image * 255).round().byte().permute(1, 2, 0).numpy())


class Pictures(ImageObserver):
    """Keeps what it is shown: step, images, embeddings."""

    def __init__(self):
        self.seen = []

    def on_step(self, view):
        self.seen.append((view.step, view.images(), view.embeddings()))

    def columns(self, item):
        return {"pictures": len(self.seen)}


def test_steps_shown_together_are_those_shown_one_by_one(pipelines, scorer, monkeypatch):
    pipeline, model = pipelines["scenes-unet"], spec("scenes-unet", steps=6)
    alone, together = Pictures(), Pictures()
    monkeypatch.setattr("pipeline.diffusion.observers.IMAGES_AT_ONCE", 3 * len(PROMPTS))
    (gathered,) = gather([together])
    with gathered:
        watched(pipeline, scorer, model, [alone, gathered])
        assert len(together.seen) == 4  # the first, then three; two wait for more
    assert [step for step, *_ in together.seen] == [step for step, *_ in alone.seen]
    for (_, *a), (_, *b) in zip(alone.seen, together.seen, strict=True):
        assert all((x - y).abs().max() < 1e-5 for x, y in zip(a, b, strict=True))
    assert gathered.columns(0) == {"pictures": 6}


def test_large_images_are_decoded_a_step_at_a_time(pipelines, scorer, monkeypatch):
    monkeypatch.setattr("pipeline.diffusion.observers.PIXELS_AT_ONCE", 64 * 64)
    (gathered,) = gather([kept := Pictures()])
    with gathered:
        watched(pipelines["scenes-dit"], scorer, spec("scenes-dit"), [gathered])
        assert len(kept.seen) == 4


def test_after_an_error_nothing_more_is_shown(pipelines, scorer):
    (gathered,) = gather([kept := Pictures()])

    class Breaks(Recorder):
        def on_step(self, view):
            if view.step == 2:
                raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), gathered:
        watched(pipelines["scenes-dit"], scorer, spec("scenes-dit"), [gathered, Breaks()])
    assert [step for step, *_ in kept.seen] == [0]
