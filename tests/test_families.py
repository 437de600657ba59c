"""Every supported class, as a user's folder: what applies works, what does not is named before the run.

The cells of the model card (`python -m pipeline.card`) are filled from these tests.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from tiny_pipelines import BUILDERS, LABELS, folder_of

from pipeline import models
from pipeline.attention import AttentionTap, attention_layers, text_layers
from pipeline.calls import check_call, inspect_model
from pipeline.card import SETTINGS
from pipeline.concepts import Concept, ConceptBank
from pipeline.errors import ModelError
from pipeline.explain import make_observers
from pipeline.explain.checks import check_measures, facts_of
from pipeline.observe import Batch, ConceptObserver, FrameObserver, Watch
from pipeline.plan import WorkUnit
from pipeline.prompts import Prompt
from pipeline.sampling import Worker, count_calls, generate, prompt_window
from pipeline.scorer import Scorer
from pipeline.study import Frames, Measures, ModelSpec, ScorerSpec, ToolSpec, load_study

NAMES = list(BUILDERS)
KNOWN = [name for name in NAMES if name != "unknown"]
WORDS = [name for name in KNOWN if name not in ("kandinsky22", "dit", "ddpm")]
CPU = torch.device("cpu")
STEPS = 3
TEXTS = ("a dog on a red background", "a cat left of a rocket")
LAST = ToolSpec(steps=(STEPS - 1,))
FULL = Measures(
    attention=ToolSpec(options={"maps": True, "map_steps": (STEPS - 1,)}),
    relevance=LAST,
    df_cam=LAST,
    df_rise=replace(LAST, options={"masks": 6}),
    lime=replace(LAST, options={"perturbations": 8}),
    faithfulness=replace(LAST, prompts=1, options={"methods": ("df-cam",)}),
    agreement=True,
    spectrum=True,
)
TOOLS = ("attention", "relevance", "df-cam", "df-rise", "lime", "faithfulness")


@pytest.fixture(scope="session")
def card():
    """Notes a cell of the model card once a test has come to its end."""
    cells: dict[str, dict[str, str]] = {}

    def note(name: str, column: str, cell: str = "yes") -> None:
        cells.setdefault(name, {})[column] = cell

    yield note
    if target := os.environ.get("STEPSCOPE_CARD"):
        classes = {name: type(pipeline_of(name)).__name__ for name in cells}
        Path(target).write_text(json.dumps({"classes": classes, "cells": cells}))


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    _ROOT.append(folder)
    return folder


_ROOT: list[Path] = []


def spec(name, **options):
    size = {"height": 32, "width": 32} if name not in ("dit", "ddpm") else {}
    options = {"steps": STEPS, "guidance": 3.0, **size} | options
    return ModelSpec(name, name, str(folder_of(name, _ROOT[0])), **options)


@cache
def pipeline_of(name):
    return models.open_pipeline(spec(name), CPU)


@cache
def scorer():
    return Scorer(ScorerSpec("data/models/scenes-clip"))


def prompts_of(name, texts=TEXTS):
    if name == "dit":
        texts = ("hound", "2")
    return tuple(Prompt(f"k{i}", text, "test", "", {}, i) for i, text in enumerate(texts))


class Views:
    """Keeps every view, and replays the call while it is at hand."""

    def __init__(self):
        self.views, self.replays, self.alone = [], [], []

    def on_step(self, view):
        self.views.append(view)
        if view.batch.family.known:
            self.replays.append(view.denoiser.replay())
            item = view.latents.shape[0] - 1
            again = view.denoiser(view.latents[item:].expand(2, -1, -1, -1), item)
            self.alone.append((again - view.prediction[item]).abs().max())

    def columns(self, item):
        return {}


@dataclass
class Seen:
    """A run of a pipeline with everything recorded, beside a plain one."""

    plain: torch.Tensor
    watched: torch.Tensor
    views: list
    replays: list
    alone: list
    columns: list[dict[str, Any]]


def watch(name, pipeline, model, prompts, measures=FULL):
    calls = count_calls(pipeline.scheduler, model.steps, {})
    family = models.family_of(pipeline)
    batch = Batch(prompts, 0, pipeline, family, scorer(), calls, model.guidance > 1, model.guidance)
    keep = Views()
    texts = scorer().texts(["a dog", "a cat"])
    concepts = ConceptObserver(["object/dog", "object/cat"], texts, texts[: len(prompts)])
    observers = [keep, FrameObserver(Frames()), concepts, *make_observers(measures, batch)]
    plain = generate(pipeline, model, prompts, 0, {})
    with ExitStack() as stack:
        for observer in observers:
            if hasattr(observer, "__enter__"):
                stack.enter_context(observer)
        stack.enter_context(Watch(batch, observers))
        watched = generate(pipeline, model, prompts, 0, {})
    columns = [
        {k: v for o in observers for k, v in o.columns(i).items()} for i in range(len(prompts))
    ]
    return Seen(plain, watched, keep.views, keep.replays, keep.alone, columns)


@cache
def seen(name):
    return watch(name, pipeline_of(name), spec(name), prompts_of(name))


@pytest.mark.parametrize("name", NAMES)
def test_sampling_and_x0(root, card, name):
    run, family = seen(name), models.family_of(pipeline_of(name))
    assert run.plain.shape == (2, 3, 32, 32)
    assert run.plain.min() >= 0 and run.plain.max() <= 1
    assert len(run.views) == run.views[0].total_steps == STEPS
    last = run.views[-1]
    # what is decoded for a step is decoded as the pipeline decodes its final latents
    if family.name != "unet-lcm":  # whose image is made of its x0
        assert torch.allclose(last.batch.decode(last.next_latents), run.plain, atol=1e-6)
    for view in run.views:
        assert view.latents.ndim == 4 and view.denoised.shape == view.latents.shape
        assert view.images().shape == run.plain.shape
        x = view.alpha * view.denoised + view.sigma * noise_of(view)
        assert torch.allclose(x, view.latents, atol=1e-3)
    card(name, "sampling, x0")


def noise_of(view):
    """The noise that a prediction implies, from the definitions alone."""
    from pipeline.schedules import prediction_type

    x, v, a, s = view.latents, view.prediction, view.alpha, view.sigma
    kind = prediction_type(view.denoiser.scheduler)
    if kind == "flow":
        return v + view.denoised
    if kind == "v_prediction":
        return a * v + s * x
    if getattr(view.denoiser.scheduler.config, "clip_sample", False):
        return (x - a * view.denoised) / s  # clipped: nothing to compare with
    return v


@pytest.mark.parametrize("name", NAMES)
def test_concepts_frames_and_spectra(root, card, name):
    run = seen(name)
    for columns in run.columns:
        curves = np.array([t["similarity"] for t in columns["trajectories"]])
        assert curves.shape == (2, STEPS) and (np.abs(curves) <= 1.001).all()
        assert [frame["step"] for frame in columns["frames"]] == list(range(STEPS))
        assert columns["spectrum"]
    card(name, "concepts")


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name", NAMES)
def test_measures(root, card, name, tool):
    family, columns = models.family_of(pipeline_of(name)), seen(name).columns[0]
    notices = check_measures(FULL, facts_of(inspect_model(spec(name)), TEXTS))
    rows = {
        "attention": [r for r in columns["words"] if r["source"] == "attention"],
        "relevance": [r for r in columns["words"] if r["source"] == "relevance"],
        "faithfulness": columns["faithfulness"],
    }.get(tool, [r for r in columns["explanations"] if r["method"] == tool])
    if tool in family.missing():
        reason = family.missing()[tool]
        assert [n for n in notices if f": {tool} is left out" in n and reason in n]
        assert rows == []
        card(name, tool, f"no: {reason}")
        return
    assert not [n for n in notices if f": {tool} is left out" in n]
    assert rows
    CHECKS.get(tool, check_maps)(name, rows)
    card(name, tool)


def check_words(name, rows):
    words = TEXTS[0].split()
    whole = [r for r in rows if r["layer_group"] == "all" and r["word_index"] >= 0]
    assert [words[r["word_index"]] for r in whole] == [r["word"] for r in whole] == words
    shares = np.array([r["mass"] for r in whole])
    assert np.isfinite(shares).all() and (shares >= 0).all()
    if rows[0]["source"] == "attention":
        assert np.allclose(shares.sum(0), 1, atol=1e-4)


def check_maps(name, rows):
    size = seen(name).views[0].latents.shape[-2:]
    for row in rows:
        values = np.frombuffer(row["map"], np.float16)
        assert len(values) == row["height"] * row["width"]
        assert (row["height"], row["width"]) == tuple(size)
        assert values.max() == 1 and values.min() == 0


def check_areas(name, rows):
    assert {row["game"] for row in rows} == {"insertion", "deletion"}
    for row in rows:
        assert len(row["curve"]) == seen(name).views[0].latents.shape[-2] + 1
        assert np.isfinite([row["auc"], row["auc_random"], row["auc_inverse"]]).all()


CHECKS = {"attention": check_words, "relevance": check_words, "faithfulness": check_areas}


@pytest.mark.parametrize("name", NAMES)
def test_recording_changes_no_bit(root, card, name):
    assert torch.equal(seen(name).plain, seen(name).watched)
    module = models.denoiser_of(pipeline_of(name))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    assert "step" not in vars(models.stage_of(pipeline_of(name)).scheduler)
    card(name, "recording on = off, bits")


@pytest.mark.parametrize("name", NAMES)
def test_replay_is_the_captured_output(root, card, name):
    run = seen(name)
    if name == "unknown":
        assert run.replays == []
        return card(name, "replay = output, bits", "no: not replayed")
    assert len(run.replays) == STEPS
    for view, replay in zip(run.views, run.replays, strict=True):
        assert torch.equal(replay, view.prediction)
    assert max(run.alone) < 1e-4  # an item replayed alone is the item of the batch
    return card(name, "replay = output, bits")


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_items_one_by_one(root, card, name):
    pipeline, model = pipeline_of(name), spec(name)
    alone = [generate(pipeline, model, [p], 0, {}) for p in prompts_of(name)]
    assert torch.allclose(torch.cat(alone), seen(name).plain, atol=1e-3)
    if name != "ddpm":
        assert not torch.allclose(alone[0], alone[1], atol=1e-6), "the prompt does not matter"
    card(name, "batch = one by one")


@pytest.mark.parametrize("name", KNOWN)
def test_weights_sum_to_one_and_are_the_built_in_attention(root, card, name):
    pipeline = pipeline_of(name)
    layers = attention_layers(models.denoiser_of(pipeline))
    hidden = [layer for layer in layers if "Linear" in type(layer.module.processor).__name__]
    assert bool(hidden) == (name == "sana")
    found = []

    def look(call, own):
        weights, output = call.weights(), own()
        total = weights.sum(-1)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-5)
        built_in = F.scaled_dot_product_attention(
            call.query, call.key, call.value, attn_mask=call.mask, scale=call.scale
        )
        assert torch.allclose(weights @ call.value, built_in, atol=1e-4)
        found.append(call.layer.name)
        return output

    read = [layer for layer in layers if layer not in hidden]
    with AttentionTap(read, look):
        generate(pipeline, spec(name, steps=2), prompts_of(name), 0, {})
    assert set(found) == {layer.name for layer in read}
    card(name, "weights sum to 1, explicit = built-in")


@pytest.mark.parametrize("name", WORDS)
def test_words_are_where_the_encoder_has_them(root, name):
    """Attention is on the words of the right item: swapping the prompts swaps the words' shares."""
    run = seen(name)
    for item, text in enumerate(TEXTS):
        rows = [r for r in run.columns[item]["words"] if r["layer_group"] == "all"]
        words = [r["word"] for r in rows if r["source"] == "attention" and r["word_index"] >= 0]
        assert words == text.split()


@pytest.mark.parametrize("name", KNOWN)
def test_sizes_that_are_not_square(root, card, name):
    model = spec(name, height=32, width=64)
    if name in ("dit", "ddpm"):
        with pytest.raises(ModelError, match="takes no height"):
            check_call(inspect_model(model), ["dog"])
        return card(name, "not square", "refused")
    assert check_call(inspect_model(model)) is not None
    run = watch(name, pipeline_of(name), model, prompts_of(name)[:1])
    assert run.plain.shape == (1, 3, 32, 64) and torch.equal(run.plain, run.watched)
    assert torch.equal(run.replays[-1], run.views[-1].prediction)
    size = tuple(run.views[0].latents.shape[-2:])
    assert size[1] == 2 * size[0]
    for row in run.columns[0]["explanations"]:
        assert row["width"] == 2 * row["height"]
    return card(name, "not square")


@pytest.mark.parametrize("name", [n for n in KNOWN if n not in ("dit", "ddpm", "kandinsky22")])
def test_a_side_that_is_no_multiple_is_refused(root, name):
    with pytest.raises(ModelError, match=r"width = 33 is not a multiple of \d"):
        check_call(inspect_model(spec(name, width=33)))


@pytest.mark.parametrize("name", KNOWN)
def test_prompts_longer_than_the_window(root, card, name):
    pipeline = pipeline_of(name)
    if name in ("dit", "ddpm"):
        return card(name, "long prompts", "no: no prompts")
    text = "a dog on " * 200
    prompt = Prompt("long", text, "test", "", {}, 0)
    measures = Measures(attention=FULL.attention, df_cam=LAST)
    run = watch(name, pipeline, spec(name, steps=2), (prompt,), replace(measures, df_cam=None))
    assert torch.equal(run.plain, run.watched)
    tokenizer, limit = prompt_window(pipeline, models.family_of(pipeline))
    assert limit and len(tokenizer(text, verbose=False).input_ids) > limit
    for row in run.columns[0]["words"]:
        assert row["word_index"] < limit
    return card(name, "long prompts")


@pytest.mark.parametrize("name", KNOWN)
def test_negative_prompts(root, card, name):
    model = spec(name, negative_prompt="a red rocket")
    if name in ("dit", "ddpm", "lcm", "flux-dev", "flux-schnell", "kandinsky22"):
        with pytest.raises(ModelError, match="negative_prompt can't be used"):
            check_call(inspect_model(model), ["dog"])
        return card(name, "negative prompts", "refused")
    assert check_call(inspect_model(model)) == []
    run = watch(name, pipeline_of(name), model, prompts_of(name), Measures())
    assert torch.equal(run.plain, run.watched)
    assert torch.equal(run.replays[-1], run.views[-1].prediction)
    assert not torch.equal(run.plain, seen(name).plain)
    return card(name, "negative prompts")


@pytest.mark.parametrize("name", KNOWN)
def test_guidance_off(root, card, name):
    model = spec(name, guidance=0.0 if name == "sd-turbo" else 1.0)
    run = watch(name, pipeline_of(name), model, prompts_of(name), replace(FULL, lime=None))
    assert torch.equal(run.plain, run.watched)
    for view, replay in zip(run.views, run.replays, strict=True):
        assert view.denoiser.halves == 1 and torch.equal(replay, view.prediction)
    assert (run.columns[0]["explanations"] == []) == (name == "unknown")
    notices = check_call(inspect_model(model), ["dog"])
    takes = not [notice for notice in notices if "guidance has no effect" in notice]
    assert takes == (name not in ("ddpm", "flux-schnell"))
    card(name, "guidance off", "yes" if takes else "no: it takes none")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", KNOWN)
def test_half_precision(root, card, name, dtype):
    model = spec(name, dtype=dtype)
    pipeline = models.open_pipeline(model, CPU)
    run = watch(name, pipeline, model, prompts_of(name))
    assert models.denoiser_of(pipeline).dtype == getattr(torch, dtype)
    assert torch.equal(run.plain, run.watched)
    for view, replay in zip(run.views, run.replays, strict=True):
        assert torch.equal(replay, view.prediction)
    assert torch.allclose(run.plain, seen(name).plain, atol=0.35)
    card(name, dtype)


@pytest.mark.parametrize("name", KNOWN)
def test_offload(root, card, name):
    for kind in ("model", "sequential"):
        with pytest.raises(ModelError, match=f"offload = '{kind}' moves parts"):
            models.open_pipeline(spec(name, offload=kind), CPU)
    pipeline = models.open_pipeline(spec(name), CPU)
    if pipeline.model_cpu_offload_seq is None:
        return card(name, "offload", "no: the pipeline has none")
    pipeline.enable_model_cpu_offload(device="cpu")  # its hooks, with the CPU in the GPU's place
    run = watch(name, pipeline, spec(name), prompts_of(name))
    assert torch.equal(run.watched, seen(name).plain)
    for view, replay in zip(run.views, run.replays, strict=True):
        assert torch.equal(replay, view.prediction)
    return card(name, "offload")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, and there is none")
@pytest.mark.parametrize(
    "options", [{}, {"dtype": "bfloat16"}, {"offload": "model"}, {"offload": "sequential"}], ids=str
)
@pytest.mark.parametrize("name", KNOWN)
def test_on_a_gpu(root, name, options):
    model = spec(name, **{"dtype": "float16"} | options)
    pipeline = models.open_pipeline(model, torch.device("cuda"))
    run = watch(name, pipeline, model, prompts_of(name))
    assert torch.equal(run.plain, run.watched)
    for view, replay in zip(run.views, run.replays, strict=True):
        assert torch.equal(replay, view.prediction)
    assert torch.allclose(run.plain.cpu(), seen(name).plain, atol=0.35)


@pytest.mark.parametrize("key", ["vae_tiling", "vae_slicing"])
@pytest.mark.parametrize("name", KNOWN)
def test_tiling_and_slicing(root, card, name, key):
    model = spec(name, **{key: True})
    if name in ("kandinsky22", "ddpm"):
        with pytest.raises(ModelError, match=f"{key} is not offered"):
            check_call(inspect_model(model), ["dog"])
        return card(name, key, "refused")
    check_call(inspect_model(model), ["dog"])
    pipeline = models.open_pipeline(model, CPU)
    assert pipeline.vae.use_tiling == (key == "vae_tiling")
    run = watch(name, pipeline, model, prompts_of(name), Measures())
    assert torch.equal(run.plain, run.watched)
    assert torch.allclose(run.plain, seen(name).plain, atol=1e-4)
    return card(name, key)


@pytest.mark.parametrize("name", ["sd-epsilon", "sd3", "flux-dev", "dit"])
def test_tiles_that_are_used(root, name, monkeypatch):
    """A picture larger than a tile: steps are decoded in the same tiles as the final image."""
    size = {} if name == "dit" else {"height": 64, "width": 64}
    model = spec(name, vae_tiling=True, steps=2, **size)
    pipeline = models.open_pipeline(model, CPU)
    if name == "dit":  # which has one size
        pipeline.vae.tile_latent_min_size, pipeline.vae.tile_sample_min_size = 8, 16
    own, used = pipeline.vae.tiled_decode, []
    monkeypatch.setattr(
        pipeline.vae, "tiled_decode", lambda *a, **k: used.append(1) or own(*a, **k)
    )
    run = watch(name, pipeline, model, prompts_of(name)[:1], Measures())
    assert len(used) >= 4  # two final images, two steps
    assert torch.equal(run.plain, run.watched)
    last = run.views[-1]
    assert torch.allclose(last.batch.decode(last.next_latents), run.plain, atol=1e-6)


def test_a_negative_prompt_without_guidance_is_said_to_have_no_effect(root):
    model = spec("sd-epsilon", negative_prompt="a red rocket", guidance=1.0)
    (notice,) = check_call(inspect_model(model), ["dog"])
    assert "negative_prompt has no effect while guidance is off" in notice
    run = generate(pipeline_of("sd-epsilon"), model, prompts_of("sd-epsilon"), 0, {})
    without = replace(model, negative_prompt="")
    assert torch.equal(
        run, generate(pipeline_of("sd-epsilon"), without, prompts_of("sd-epsilon"), 0, {})
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_worker_runs_the_folder(root, name):
    """The whole way of a study: one row of the shard for each prompt, none failed."""
    study = load_study("data/studies/small.toml")
    study = replace(study, measures=replace(Measures(), frames=Frames(), attention=LAST))
    bank = ConceptBank("one", (Concept("dog", "object", ("a dog",)),))
    with Worker(study, spec(name), bank, "cpu") as worker:
        rows = worker.run(WorkUnit("u", worker.model, prompts_of(name), 0))
    assert [row["error"] for row in rows] == ["", ""]
    assert worker.description["family"] == models.family_of(pipeline_of(name)).name


@pytest.mark.parametrize(("name", "most"), [("sd3", 64), ("auraflow", 128)])
def test_sizes_beyond_the_position_embedding_are_refused(root, name, most):
    check_call(inspect_model(spec(name, width=most)))
    with pytest.raises(ModelError, match=f"beyond the {most} px"):
        check_call(inspect_model(spec(name, width=most + 4)))


@pytest.mark.parametrize("name", ["sd-epsilon", "sd3", "flux-dev"])
def test_a_tiny_autoencoder_decodes_the_steps_and_the_full_one_the_image(root, tmp_path, name):
    channels = pipeline_of(name).vae.config.latent_channels
    tiny = AutoencoderTiny(
        latent_channels=channels,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    )
    tiny.save_pretrained(tmp_path / "taesd")
    study = replace(load_study("data/studies/small.toml"), measures=Measures(frames=Frames()))
    bank = ConceptBank("one", (Concept("dog", "object", ("a dog",)),))
    rows = {}
    for decoder in (None, str(tmp_path / "taesd")):
        worker = Worker(study, spec(name, steps_decoder=decoder), bank, "cpu")
        (rows[decoder],) = worker.run(WorkUnit("u", worker.model, prompts_of(name)[:1], 0))
    full, quick = rows.values()
    assert full["status"] == quick["status"] == "done", quick["error"]
    assert full["image"] == quick["image"] and full["frames"] != quick["frames"]


def test_a_tiny_autoencoder_of_another_model_is_refused(root, tmp_path):
    AutoencoderTiny(latent_channels=16).save_pretrained(tmp_path / "taesd3")
    model = spec("sd-epsilon", steps_decoder=str(tmp_path / "taesd3"))
    with pytest.raises(ModelError, match="decodes 16 channels, and the model's latents have 4"):
        models.open_decoder(model, pipeline_of("sd-epsilon"))
    with pytest.raises(ModelError, match="could not be loaded"):
        models.open_decoder(replace(model, steps_decoder=str(tmp_path)), pipeline_of("sd-epsilon"))
    with pytest.raises(ModelError, match="works on pixels"):
        check_call(inspect_model(spec("ddpm", steps_decoder=str(tmp_path))))


def test_labels_are_named_or_numbered(root):
    check_call(inspect_model(spec("dit")), ["dog", "Hound", "cat", "2"])
    with pytest.raises(ModelError, match=r"'zebra' is no class label .* one of 4 labels"):
        check_call(inspect_model(spec("dit")), ["zebra"])
    with pytest.raises(ModelError, match="'7'"):
        check_call(inspect_model(spec("dit")), ["7"])
    assert set(pipeline_of("dit").labels.values()) == set(LABELS)


def test_an_unknown_class_is_noticed(root, card):
    (notice,) = check_call(inspect_model(spec("unknown")))
    for column in ("weights sum to 1, explicit = built-in", *SETTINGS):
        card("unknown", column, "no: not tested; the class is not in the table of families")
    assert "IFPipeline is not in the table of families" in notice
    assert "df-rise" in notice and "docs/families.md" in notice


def test_half_a_model_is_refused(root):
    folder = folder_of("kandinsky22", _ROOT[0])
    index = json.loads((folder / "model_index.json").read_text())
    inspected = inspect_model(spec("kandinsky22"))
    from diffusers import KandinskyV22PriorPipeline, StableDiffusionImg2ImgPipeline

    half = replace(inspected, pipeline=KandinskyV22PriorPipeline, index=index)
    with pytest.raises(ModelError, match="KandinskyV22CombinedPipeline"):
        check_call(half)
    with pytest.raises(ModelError, match="also wants image"):
        check_call(replace(inspected, pipeline=StableDiffusionImg2ImgPipeline))


@pytest.mark.parametrize("name", ["dit", "ddpm", "kandinsky22"])
def test_schedulers_that_need_scaled_noise_are_refused(root, name):
    with pytest.raises(ModelError, match="needs noise scaled to its sigmas"):
        check_call(inspect_model(spec(name, scheduler="EulerDiscreteScheduler")), ["dog"])


@pytest.mark.parametrize("name", ["sd3", "flux-dev", "auraflow", "sana"])
def test_schedulers_that_read_the_output_otherwise_are_refused(root, name):
    with pytest.raises(ModelError, match="was trained for flow"):
        check_call(inspect_model(spec(name, scheduler="DDIMScheduler")))


def test_text_layers_are_those_of_the_family(root):
    for name in WORDS:
        kinds = {layer.kind for layer in text_layers(models.denoiser_of(pipeline_of(name)))}
        family = models.family_of(pipeline_of(name))
        assert kinds == {"cross"} if family.attention == "cross" else kinds <= {"joint", "single"}
