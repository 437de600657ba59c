"""The worker: one row per prompt whatever happens, the images of a plain diffusers call, hostile prompts included."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from pipeline.diffusion import observers
from pipeline.engine import worker as sampling
from pipeline.engine.worker import Worker
from pipeline.models import loading
from pipeline.results.rows import SCHEMA, table_of
from pipeline.study.concepts import Concept, ConceptBank
from pipeline.study.plan import WorkUnit
from pipeline.study.prompts import Prompt
from pipeline.study.reading import load_study
from pipeline.study.spec import ScorerSpec
from tests.support.tiny import tiny_scorer

BANK = ConceptBank(
    "two", (Concept("dog", "object", ("a dog",)), Concept("red", "colour", ("a red background",)))
)
HOSTILE = [
    "",
    "   ",
    "a dog " * 2000,
    "a\0dog",
    "🐶🚀 👩‍👩‍👧",
    "كلب على خلفية حمراء",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "'; DROP TABLE sample; --",
    "line one\nline two\r\n\ttab",
    "\u202ea god\u202c",
    "{{7*7}} ${HOME} %s %n ../../etc/passwd",
]


def prompts_of(texts):
    return tuple(Prompt(f"key{i}", text, "test", "", {}, i) for i, text in enumerate(texts))


@pytest.fixture(scope="module")
def study():
    study = load_study("data/studies/small.toml")
    models = tuple(replace(model, steps=3) for model in study.models)
    measures = type(study.measures)(frames=study.measures.frames, embeddings=True)
    return replace(study, models=models, measures=measures)


@pytest.fixture(scope="module")
def workers(study):
    return {model.name: Worker(study, model, BANK, "cpu") for model in study.models}


@pytest.mark.parametrize("name", ["scenes-unet", "scenes-dit"])
def test_hostile_prompts_are_sampled_and_kept(workers, name):
    worker = workers[name]
    work_unit = WorkUnit("u", worker.model, prompts_of(HOSTILE), 0)
    rows = worker.run(work_unit)
    assert [row["prompt_key"] for row in rows] == [p.prompt_key for p in work_unit.prompts]
    assert all(row["status"] == "done" for row in rows), [row["error"] for row in rows]
    assert rows[0]["notice"] == "empty prompt"
    assert "prompt cut from" in rows[2]["notice"]
    assert table_of(rows).num_rows == len(HOSTILE)


def test_rows_have_the_columns_of_the_shard(workers, study):
    worker = workers["scenes-unet"]
    rows = worker.run(WorkUnit("u", worker.model, prompts_of(["a dog", "a cat"]), 1))
    assert set(rows[0]) == set(SCHEMA.names)
    for row in rows:
        assert [step["step"] for step in row["steps"]] == [0, 1, 2]
        assert [t["concept"] for t in row["trajectories"]] == ["object/dog", "colour/red"]
        curves = np.array([t["similarity"] for t in row["trajectories"]])
        assert curves.shape == (2, 3) and (np.abs(curves) <= 1.0001).all()
        assert len(row["embedding"]) == 3 and -1 <= row["clip_score"] <= 1


def test_the_image_is_the_one_of_a_plain_call(workers):
    worker = workers["scenes-unet"]
    row = worker.run(WorkUnit("u", worker.model, prompts_of(["a dog"]), 7))[0]
    plain = DiffusionPipeline.from_pretrained("data/models/scenes-unet")
    plain.set_progress_bar_config(disable=True)
    image = plain(
        "a dog",
        num_inference_steps=3,
        guidance_scale=worker.model.guidance,
        generator=torch.Generator().manual_seed(7),
        output_type="pt",
    ).images[0]
    stored = np.asarray(Image.open(io.BytesIO(row["image"])).convert("RGB"))
    assert np.array_equal(stored, (image * 255).round().byte().permute(1, 2, 0).numpy())


def test_the_clip_score_is_that_of_the_image_as_stored(workers):
    """And of the image before it is rounded, by its first definition, with which older folders continue."""
    worker = workers["scenes-unet"]
    prompts = prompts_of(["a dog", "a cat"])
    rows = worker.run(WorkUnit("u", worker.model, prompts, 7))
    stored = [np.asarray(Image.open(io.BytesIO(row["image"])).convert("RGB")) for row in rows]
    texts = worker.scorer.texts([prompt.text for prompt in prompts])
    scores = (worker.scorer.pixels(stored) * texts).sum(-1)
    assert [row["clip_score"] for row in rows] == scores.tolist()
    older = worker.run(WorkUnit("u", worker.model, prompts, 7, clip_score=1))
    gaps = np.abs([a["clip_score"] - b["clip_score"] for a, b in zip(rows, older, strict=True)])
    assert (gaps > 0).all() and (gaps < 2e-3).all()
    assert [row["image"] for row in older] == [row["image"] for row in rows]


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    return ScorerSpec(str(tiny_scorer(tmp_path_factory.mktemp("scorer") / "tiny")))


def test_several_scorers_see_the_same_images_and_each_gives_what_it_gives_alone(
    workers, study, second, monkeypatch
):
    decoded = []
    decode = loading.decode
    monkeypatch.setattr(loading, "decode", lambda *a: decoded.append(len(a[1])) or decode(*a))
    worker = workers["scenes-unet"]
    work_unit = WorkUnit("u", worker.model, prompts_of(["a dog", "a cat on red"]), 3)
    first = worker.run(work_unit)
    alone = Worker(replace(study, scorer=second), worker.model, BANK, "cpu").run(work_unit)
    several = replace(study, further_scorers=(second, study.scorer))
    with Worker(several, worker.model, BANK, "cpu") as both:
        decoded.clear()  # those of the trial
        rows = both.run(work_unit)
    assert sum(decoded) == 3 * 2  # each image once
    for row, by_first, by_second in zip(rows, first, alone, strict=True):
        further = row.pop("further_scorers")
        assert by_first["image"] == by_second["image"] and by_first["frames"] == row["frames"]
        for name, value in _scores(row).items():
            assert np.array_equal(value, _scores(by_first)[name])
            assert np.abs(_scores(further[0])[name] - _scores(by_second)[name]).max() < 1e-6
            assert np.abs(_scores(further[1])[name] - value).max() < 1e-6
        assert row["image"] == by_first["image"]
        assert np.array_equal(row["embedding"], by_first["embedding"])
        assert np.abs(further[0]["prompt_similarity"] - row["prompt_similarity"]).max() > 1e-3


def _scores(row):
    curves = np.array([t["similarity"] for t in row["trajectories"]])
    return {
        "score": np.float32(row["clip_score"]),
        "prompt": row["prompt_similarity"],
        "concepts": curves,
    }


def test_the_same_unit_gives_the_same_content(workers):
    worker = workers["scenes-dit"]
    work_unit = WorkUnit("u", worker.model, prompts_of(["a dog", "a cat"]), 0)
    first, second = (table_of(worker.run(work_unit)) for _ in range(2))
    assert first["content_sha256"] == second["content_sha256"]


def test_only_the_item_at_fault_fails(study, workers, monkeypatch):
    worker = workers["scenes-unet"]
    encode = type(worker.pipeline).encode_prompt

    def encode_or_break(self, prompt, *args, **kwargs):
        if any("broken" in text for text in prompt):
            raise RuntimeError("this text breaks the encoder")
        return encode(self, prompt, *args, **kwargs)

    monkeypatch.setattr(type(worker.pipeline), "encode_prompt", encode_or_break)
    work_unit = WorkUnit("u", worker.model, prompts_of(["a dog", "broken", "a cat"]), 0)
    rows = worker.run(work_unit)
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    assert "breaks the encoder" in rows[1]["error"]
    assert table_of(rows).num_rows == 3


def test_nan_from_the_model_is_a_failed_item(workers, monkeypatch):
    worker = workers["scenes-unet"]
    step = type(worker.pipeline.scheduler).step

    def step_with_nan(self, model_output, timestep, sample, **kwargs):
        return step(self, model_output * float("nan"), timestep, sample, **kwargs)

    monkeypatch.setattr(type(worker.pipeline.scheduler), "step", step_with_nan)
    rows = worker.run(WorkUnit("u", worker.model, prompts_of(["a dog"]), 0))
    assert rows[0]["status"] == "failed" and rows[0]["image"] is None
    assert "NaN or infinite latents at step 1, items [0]" in rows[0]["error"]


def test_pictures_of_a_batch_are_encoded_beside_the_next(workers, monkeypatch):
    worker, events = workers["scenes-unet"], []
    sample, wait = worker._sample, sampling.wait_for_pictures

    def sampled(work_unit, prompts, on_step):
        events.append(("sample", len(prompts)))
        return sample(work_unit, prompts, on_step)

    def waited(work_unit, rows, part):
        events.append(("wait", len(rows[part])))
        wait(work_unit, rows, part)

    monkeypatch.setattr(worker, "_sample", sampled)
    monkeypatch.setattr(worker, "_batch_size", 2)
    monkeypatch.setattr(sampling, "wait_for_pictures", waited)
    rows = worker.run(WorkUnit("u", worker.model, prompts_of(["a dog", "a cat", "red"]), 0))
    assert events == [("sample", 2), ("wait", 0), ("sample", 1), ("wait", 2), ("wait", 1)]
    assert all(isinstance(frame["image"], bytes) for row in rows for frame in row["frames"])
    assert all(isinstance(row["image"], bytes) for row in rows)


def test_a_picture_that_cannot_be_encoded_fails_its_row_alone(workers, monkeypatch):
    encoded, original = [], observers._webp

    def broken(pixels, item, size, quality):
        encoded.append(item)
        if size is None and item == 1:
            raise OSError("no space in the encoder")
        return original(pixels, item, size, quality)

    monkeypatch.setattr(observers, "_webp", broken)
    rows = workers["scenes-unet"].run(
        WorkUnit("u", workers["scenes-unet"].model, prompts_of(["a dog", "a cat"]), 0)
    )
    assert [row["status"] for row in rows] == ["done", "failed"]
    assert "no space in the encoder" in rows[1]["error"]
    assert table_of(rows).num_rows == 2


def test_progress_is_reported(workers):
    worker, seen = workers["scenes-unet"], []
    worker.run(WorkUnit("u", worker.model, prompts_of(["a dog", "a cat"]), 0), seen.append)
    assert seen == [2, 2, 2]


def test_ctrl_c_passes_through(workers):
    worker = workers["scenes-unet"]

    def stop(_images):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.run(WorkUnit("u", worker.model, prompts_of(["a dog"]), 0), stop)
    assert "step" not in vars(worker.pipeline.scheduler)
