"""The trial of two steps: passes what is recorded rightly, and names what is not with the difference it found."""

from dataclasses import replace

import diffusers
import pytest
import torch

from pipeline.bench.tried import TRIED, WORKS
from pipeline.diffusion import trial as trials
from pipeline.diffusion.generate import count_calls, generate
from pipeline.diffusion.trial import MOST_LEVELS_HALF, check_trial, most_levels, try_model
from pipeline.engine.worker import Worker
from pipeline.errors import ModelError
from pipeline.models import decoding, loading
from pipeline.preflight.models import check_call, inspect_model
from pipeline.study.concepts import Concept, ConceptBank
from pipeline.study.plan import WorkUnit
from pipeline.study.prompts import Prompt
from pipeline.study.reading import load_study
from pipeline.study.spec import Frames, Measures, ModelSpec
from tests.support.families import KNOWN, pipeline_of, spec
from tests.support.tiny_pipelines import build
from tests.support.unlisted import SIZES, UNLISTED, unlisted_folder

pytestmark = pytest.mark.long

FEW = ("sd-epsilon", "sdxl", "lcm", "flux-dev", "kandinsky22", "dit", "ddpm", "unknown")
EXACT = most_levels(torch.float32)
KARRAS = sorted({kind.name for kind in diffusers.schedulers.KarrasDiffusionSchedulers})


def names():
    return [
        pytest.param(name, marks=[] if name in FEW else pytest.mark.thorough)
        for name in (*KNOWN, "unknown")
    ]


@pytest.fixture
def sd():
    """A pipeline of its own, for tests that harm it."""
    pipeline = build("sd-epsilon")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("name", names())
def test_every_family_passes(root, name):
    pipeline = pipeline_of(name)
    scheduler = pipeline.scheduler
    trial = try_model(pipeline, spec(name))
    assert trial.problems(EXACT) == [] and trial.same_bits
    assert trial.replay == (None if name == "unknown" else 0)
    assert trial.x0_levels < EXACT or not trial.clean
    assert pipeline.scheduler is scheduler
    check_trial(trial, spec(name), torch.float32, ("df-rise",))


@pytest.mark.parametrize("kind", KARRAS)
def test_every_scheduler_passes(sd, kind):
    """Those that end with noise, or have no deterministic step of first order, too."""
    loading.use_scheduler(
        sd, loading.adopt_scheduler(getattr(diffusers, kind), sd.scheduler.config)
    )
    trial = try_model(sd, SMALL)
    assert trial.problems(EXACT) == [], trial


PROMPT = Prompt("trial", "a cat", "", "", {}, 0)
SMALL = ModelSpec("sd", "sd", "sd", steps=3, guidance=3.0, height=32, width=32)


def test_a_shift_that_is_left_out_is_found(root, monkeypatch):
    pipeline = pipeline_of("sd3")
    wrong = replace(loading.family_of(pipeline), shifted=False)
    monkeypatch.setattr(loading, "family_of", lambda _: wrong)
    trial = try_model(pipeline, spec("sd3"))
    assert trial.x0_levels > EXACT
    with pytest.raises(
        ModelError, match=r"x0 differs from the final image by \d+\.\d of 255 levels"
    ):
        check_trial(trial, spec("sd3"), torch.float32)


class Skips(diffusers.DDIMScheduler):
    """Steps as if less noise were in the latents than its table says."""

    def step(self, model_output, timestep, sample, **options):
        return super().step(model_output, timestep // 2, sample, **options)


def test_a_scheduler_that_is_elsewhere_than_its_table_says_is_found(sd):
    """It ends with noise, so the final image alone would not show it."""
    loading.use_scheduler(sd, Skips.from_config(sd.scheduler.config))
    trial = try_model(sd, SMALL)
    assert not trial.clean and trial.next_step > trials.CLOSE
    with pytest.raises(ModelError, match="misses the next noise level by"):
        check_trial(trial, SMALL, torch.float32)


def test_bits_that_recording_changes_are_found(sd):
    forward = sd.unet.forward

    def changed(sample, *args, **kwargs):
        watched = bool(sd.unet._forward_pre_hooks)
        return forward(sample * 1.001 if watched else sample, *args, **kwargs)

    sd.unet.forward = changed
    with pytest.raises(ModelError, match="not the same to the bit with recording"):
        check_trial(try_model(sd, SMALL), SMALL, torch.float32)


def test_a_model_whose_own_bits_differ_is_not_blamed_on_recording(sd):
    forward, calls = sd.unet.forward, []

    def random(sample, *args, **kwargs):
        calls.append(sample)
        return forward(sample * (1 + 1e-4 * len(calls)), *args, **kwargs)

    sd.unet.forward = random
    trial = try_model(sd, SMALL)
    assert trial.same_bits is None and not any("bit" in line for line in trial.problems(EXACT))


def test_a_replay_that_differs_costs_the_measures_that_replay(root, monkeypatch):
    """As of a class whose conditional half comes first, taken for one whose unconditional half does."""
    pipeline = pipeline_of("sd-epsilon")
    wrong = replace(loading.family_of(pipeline), guidance="swapped")
    monkeypatch.setattr(loading, "family_of", lambda _: wrong)
    trial = try_model(pipeline, spec("sd-epsilon"))
    assert trial.problems(EXACT) == [] and "df-rise" in trial.missing()
    check_trial(trial, spec("sd-epsilon"), torch.float32, ("attention",))
    with pytest.raises(ModelError, match="df-rise cannot be measured: a replayed denoiser call"):
        check_trial(trial, spec("sd-epsilon"), torch.float32, ("df-rise",))


def test_a_pipeline_that_raises_is_one_line(sd):
    def broken(*_, **__):
        raise ValueError("no such\nlayer")

    sd.unet.forward = broken
    with pytest.raises(ModelError, match="a trial of 2 steps failed: ValueError: no such layer"):
        try_model(sd, SMALL)


def opened(name, root):
    """A class that the table of families lacks, loaded as a user's folder."""
    side = SIZES.get(name, 32)
    model = replace(SMALL, source=str(unlisted_folder(name, root)), height=side, width=side)
    check_call(inspect_model(model), ["a cat"])
    return model, loading.open_pipeline(model, torch.device("cpu"))


@pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning")  # Chroma's import
@pytest.mark.parametrize("name", UNLISTED)
def test_what_the_trial_makes_of_an_unlisted_class_is_what_the_card_says(root, name, monkeypatch):
    """Without what was learnt of its own call, x0 would be wrong without a word, or no picture."""
    said = TRIED[UNLISTED[name]]
    try:
        model, pipeline = opened(name, root)
        assert type(pipeline).__name__ == UNLISTED[name] and not loading.family_of(pipeline).known
        trial = try_model(pipeline, model)
        check_trial(trial, model, torch.float32)
    except ModelError as error:
        line = str(error).removeprefix("model sd: ")
        assert line.replace(f"{unlisted_folder(name, root)}/", "") == said
        return
    assert said == WORKS
    assert trial.x0_levels < EXACT and trial.clean and trial.same_bits
    assert trial.next_step is None or trial.next_step < 1e-3
    if name in LEARNT:
        monkeypatch.setattr(trials, "learn", lambda *_: None)
        delattr(pipeline, decoding.ATTRIBUTE)
        try:
            assert try_model(pipeline, model).x0_levels > EXACT
        except ModelError as error:
            assert "not known to be a picture" in str(error)


LEARNT = ("glm_image", "ovis", "nucleus", "z_image_omni", "ideogram4")
"""Of the five ways in which latents are made ready for a decoder, one class each."""


def test_a_size_that_is_not_the_one_asked_for_is_refused(root):
    pipeline = pipeline_of("hidream")
    with pytest.raises(ModelError, match="makes an image of 32 x 32 px where 64 x 64 px is asked"):
        try_model(pipeline, spec("hidream", height=64, width=64))


@pytest.mark.parametrize(("name", "alone"), [("glm_image", True), ("ovis", False)])
def test_a_class_whose_image_depends_on_the_prompts_beside_it_is_sampled_alone(root, name, alone):
    """GLM-Image draws the tokens of all images of a call from one generator."""
    model, pipeline = opened(name, root)
    assert try_model(pipeline, model).alone is None
    assert try_model(pipeline, model, batches=True).alone is alone
    study = replace(load_study("data/studies/small.toml"), models=(model,), measures=Measures(frames=Frames()))  # fmt: skip
    study = replace(study, run=replace(study.run, batch_size=2))
    bank = ConceptBank("one", (Concept("dog", "object", ("a dog",)),))
    worker = Worker(study, model, bank, "cpu")
    assert worker.description["trial"]["alone"] is alone
    prompts = tuple(replace(PROMPT, prompt_key=text, text=text) for text in ("a red dog", "a cat"))
    rows = worker.run(WorkUnit("u", model, prompts, 0))
    assert [row["status"] for row in rows] == ["done"] * 2, rows[0]["error"]
    if alone:
        assert worker.run(WorkUnit("u", model, prompts[1:], 0))[0]["image"] == rows[1]["image"]


def test_a_class_that_takes_one_prompt_a_call_is_sampled_alone(root, monkeypatch):
    model, pipeline = opened("ovis", root)
    original = generate

    def single(pipeline, model, prompts, *rest):
        if len(prompts) > 1:
            raise ValueError("one prompt a call")
        return original(pipeline, model, prompts, *rest)

    monkeypatch.setattr(trials, "generate", single)
    assert try_model(pipeline, model, batches=True).alone is True


def test_an_image_that_holds_no_numbers_is_one_line(sd):
    sd.unet.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="its image holds values that are no numbers"):
        try_model(sd, SMALL)


def test_steps_of_a_scheduler_of_angles_are_counted(root):
    """SANA-Sprint's table ends with the image's own timestep, and its middle one belongs to two steps only."""
    model, pipeline = spec("sana-sprint", steps=4), pipeline_of("sana-sprint")
    assert count_calls(pipeline.scheduler, 4, {}) == 4
    assert generate(pipeline, model, [PROMPT] * 2, 0, {}).shape == (2, 3, 32, 32)


def test_every_class_that_the_card_calls_tried_has_its_test():
    assert {*UNLISTED.values(), "IFPipeline"} == set(TRIED)  # IFPipeline: `unknown`, above


def test_only_a_factor_and_a_summand_are_learnt():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 3, 4, 4, generator=generator)
    factor, summand = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.1, 0.0, -3.0])
    holder = torch.nn.Identity()
    decoding.learn(holder, latents, latents * factor.view(1, 3, 1, 1) + summand.view(1, 3, 1, 1))
    learnt = decoding.layout_of(holder)
    assert torch.allclose(learnt.factor.float().flatten(), factor)
    assert torch.allclose(learnt.summand.float().flatten(), summand, atol=1e-6)
    for other in (latents.flip(3), latents**2, None, latents[:, :, :2]):
        decoding.learn(holder, latents, other)
        assert decoding.layout_of(holder) is None


@pytest.mark.parametrize("order", ["picture", "tokens", "frame", "channels last"])
@pytest.mark.parametrize(("side", "last"), [(1, False), (2, False), (2, True)])
def test_where_the_values_of_a_picture_are_is_learnt(order, side, last):
    """Packed in each way, what is learnt unpacks them, and packs them again."""
    picture = torch.randn(2, 3, 4, 8, generator=torch.Generator().manual_seed(0))
    packed = decoding.Arrangement(order, side, 4 // side, 8 // side, last).pack(picture)
    holder = torch.nn.Identity()
    decoding.learn(holder, packed, picture * 2, {"force_not_quantize": True})
    learnt = decoding.layout_of(holder)
    assert torch.equal(learnt.arrangement.unpack(packed), picture)
    assert torch.equal(learnt.arrangement.pack(picture), packed)
    assert learnt.options == {"force_not_quantize": True}


def test_half_precision_may_round_more():
    assert most_levels(torch.float16) == most_levels(torch.bfloat16) == MOST_LEVELS_HALF > EXACT
