"""A user's own call of a pipeline, watched: the same bits, and what a study would have recorded of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline

import stepscope
from pipeline.models.scorer import Scorer
from pipeline.study.spec import ScorerSpec
from tests.support.tiny_pipelines import build

ROOT = Path(__file__).parents[2]
SCORER = ROOT / "data/models/scenes-clip"
PROMPT = "a cat left of a rocket on a plain green background"
STEPS = 4


# The folder says null for what the pipeline can do without; diffusers wants that said at the call.
ABSENT: dict[str, dict[str, Any]] = {
    "scenes-unet": {"requires_safety_checker": False},
    "scenes-dit": dict.fromkeys(
        ("text_encoder_3", "tokenizer_3", "image_encoder", "feature_extractor")
    ),
}


@pytest.fixture(scope="module", params=ABSENT)
def pipe(request: pytest.FixtureRequest) -> Any:
    folder = ROOT / "data/models" / request.param
    pipe = DiffusionPipeline.from_pretrained(folder, **ABSENT[request.param])
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(ScorerSpec(str(SCORER)))


def draw(pipe: Any, prompt: Any = PROMPT, **options: Any) -> np.ndarray:
    generator = torch.Generator().manual_seed(3)
    images = pipe(
        prompt, num_inference_steps=STEPS, generator=generator, output_type="np", **options
    ).images
    return np.asarray(images)


def test_watching_changes_no_bit_and_leaves_nothing_behind(pipe: Any, scorer: Scorer) -> None:
    kind, step = type(pipe), pipe.scheduler.step
    plain = draw(pipe)
    tools = {
        "df-cam": {"steps": [1]},
        "df-rise": {"steps": [2], "masks": 8},
        "relevance": {"steps": [1]},
    }
    with stepscope.watch(pipe, ["cat", "red"], scorer, attention=True, saliency=tools) as seen:
        watched = draw(pipe)
    assert np.array_equal(plain, watched)
    assert np.array_equal(plain, draw(pipe))
    assert type(pipe) is kind and pipe.scheduler.step == step
    assert set(seen.maps.table["method"]) == {"attention", "relevance", "df-cam", "df-rise"}
    last = np.asarray(seen.images[STEPS - 1], float) / 255
    assert (
        np.abs(last - watched[0]).max() < 0.05
    )  # the last x0 is the image, but for the last step's noise
    check_similarity(seen, scorer)
    check_words(seen)


def check_similarity(seen: Any, scorer: Scorer) -> None:
    """The numbers are those of the scorer on the pictures that are shown, but for their rounding to bytes."""
    pixels = torch.from_numpy(np.array(seen.images[2])).permute(2, 0, 1)[None] / 255
    for concept, text in (("cat", "cat"), ("(whole prompt)", PROMPT)):
        expected = float(scorer.images(pixels)[0] @ scorer.texts([text])[0])
        rows = seen.similarity.query(f"step == 2 and concept == {concept!r}")
        assert rows["similarity"].item() == pytest.approx(expected, abs=2e-3)
    assert len(seen.similarity) == STEPS * 3
    assert seen.chart().to_dict()["mark"]["type"] == "line"


def check_words(seen: Any) -> None:
    words = seen.words.query("source == 'attention' and layer_group == 'all' and step == 1")
    assert set(PROMPT.split()) <= set(words["word"])
    assert words.query("word_index >= 0")["mass"].sum() == pytest.approx(1, abs=1e-3)
    assert seen.maps.table.query("method == 'attention'")["word"].isin(["cat", "rocket"]).any()


def test_two_calls_and_two_images_a_prompt_are_numbered(pipe: Any) -> None:
    with stepscope.watch(pipe) as seen:
        draw(pipe, num_images_per_prompt=2)
        draw(pipe, ["a red car"])
    assert seen.prompts == [PROMPT, PROMPT, "a red car"]
    assert len(seen.images) == 3 * STEPS and seen.steps["log_snr"].is_monotonic_increasing is False
    assert repr(seen).endswith("3 images of 4 steps; steps, images")
    for ask in ("similarity", "words", "maps"):
        with pytest.raises(stepscope.StudyError, match="give watch"):
            getattr(seen, ask)


def test_the_class_comes_back_after_an_error(pipe: Any) -> None:
    kind = type(pipe)
    with pytest.raises(RuntimeError, match="stop"), stepscope.watch(pipe):
        draw(pipe, callback_on_step_end=stop)
    assert type(pipe) is kind and "step" not in pipe.scheduler.__dict__


def stop(*_: Any) -> dict[str, Any]:
    raise RuntimeError("stop")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"concepts": ["cat"]}, "concepts: a scorer is needed"),
        ({"scorer": "data/models/none", "concepts": ["cat"]}, "none"),
        ({"saliency": ["grad-cam"]}, "saliency: 'grad-cam' is not one of: df-cam"),
        ({"saliency": {"df-rise": {"mask": 3}}}, "mask"),
    ],
)
def test_what_cannot_be_watched_is_said_in_a_line(pipe: Any, options: Any, part: str) -> None:
    with pytest.raises(stepscope.StudyError, match=part) as caught:
        stepscope.watch(pipe, **options)
    assert "\n" not in str(caught.value)


def test_a_call_without_a_prompt_or_steps_is_refused(pipe: Any) -> None:
    with stepscope.watch(pipe, saliency={"df-cam": {"steps": [9]}}) as seen:
        with pytest.raises(
            stepscope.StudyError, match="steps holds 9, but the call has steps 0 to 3"
        ):
            draw(pipe)
        with pytest.raises(stepscope.StudyError, match="has no prompt"):
            draw(pipe, None)
    with pytest.raises(stepscope.StudyError, match="No call was watched"):
        _ = seen.images


def small(name: str) -> tuple[Any, dict[str, Any]]:
    """A tiny pipeline of a family, and the arguments of a short call."""
    pipe = build(name)
    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return pipe, {"height": 32, "width": 32, "num_inference_steps": 2, "output_type": "np"}


@pytest.mark.parametrize("name", ["cogview4", "qwen-image", "z-image", "hunyuan-image"])
def test_words_of_several_prompts_are_refused_where_each_is_to_be_alone(name: str) -> None:
    pipe, options = small(name)
    prompts = ("a dog", "a cat left of a rocket on a red background")
    with stepscope.watch(pipe, attention=True) as seen:
        with pytest.raises(stepscope.StudyError, match="^attention: .* one prompt at a time") as no:
            pipe([*prompts], **options)  # a list of its own: Z-Image's call writes into it
        for prompt in prompts:
            pipe(prompt, **options)
        pipe(["a dog"] * 2, **options)
    assert "\n" not in str(no.value)
    assert seen.prompts == [*prompts, "a dog", "a dog"]
    with stepscope.watch(pipe) as seen:  # images are those of the call, whatever they depend on
        pipe([*prompts], **options)
    assert seen.prompts == [*prompts]


def test_group_offload_keeps_the_bits_and_refuses_gradients() -> None:
    pipe, options = small("flux-dev")
    tools: dict[str, Any] = {"df-rise": {"steps": [1], "masks": 4}}

    def call() -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        return np.asarray(pipe("a dog", **options, generator=generator).images)

    with stepscope.watch(pipe, attention=True, saliency=tools) as before:
        call()
    pipe.enable_group_offload("cpu", offload_type="leaf_level")  # its hooks, on the CPU
    plain = call()
    with stepscope.watch(pipe, attention=True, saliency=tools) as seen:
        assert np.array_equal(plain, call())
    assert np.allclose(seen.words["mass"], before.words["mass"], atol=1e-3)
    assert len(seen.maps.table) == len(before.maps.table)
    for name in ("df-cam", "relevance"):
        with pytest.raises(stepscope.StudyError, match=f"^{name}: not available with group off"):
            stepscope.watch(pipe, saliency=[name])
