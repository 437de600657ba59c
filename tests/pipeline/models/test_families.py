"""Every supported class, as a user's folder: what applies works, what does not is named before the run.

The cells of the model card (`python -m pipeline.bench.card`) are filled from these tests.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny

from pipeline.bench.card import SETTINGS
from pipeline.diffusion.branch import branches
from pipeline.diffusion.generate import generate, prompt_window
from pipeline.diffusion.redraw import record, redraw, unfit
from pipeline.diffusion.watch import Watch
from pipeline.engine.worker import Worker
from pipeline.errors import ModelError
from pipeline.explain.attention import AttentionTap, attention_layers
from pipeline.explain.information import Information
from pipeline.models import loading
from pipeline.preflight.measures import check_measures, facts_of
from pipeline.preflight.models import check_call, inspect_model
from pipeline.study.concepts import Concept, ConceptBank
from pipeline.study.plan import WorkUnit
from pipeline.study.prompts import Prompt
from pipeline.study.reading import load_study
from pipeline.study.spec import Frames, Measures, ToolSpec
from tests.support.families import (
    CPU,
    FULL,
    KNOWN,
    LAST,
    NAMES,
    ONE_PROMPT,
    SIDES,
    STEPS,
    TEXTS,
    TOOLS,
    UNGUIDED_AT_0,
    UNSTEERED,
    WIDE,
    WORDS,
    all_prompts_of,
    check_areas,
    check_concepts,
    check_maps,
    check_words,
    noise_of,
    pipeline_of,
    prompts_of,
    seen,
    shared_out,
    spec,
    watch,
)
from tests.support.tiny_today import TODAY

# One family for each way of looking into a denoiser.
FEW = ("sd-epsilon", "sd35", "flux-dev", "sana", "kandinsky22", "dit", "ddpm")
# Insertion and deletion are most of a run's cost; what they need of a family, `seen` and one run of each setting show.
NO_GAMES = replace(FULL, faithfulness=None)


OLDER = [name for name in KNOWN if name not in TODAY]


def ways_to_watch(*more, names=KNOWN):
    """One family for each way, and more; the others under the marker `thorough`."""
    usual = {*FEW, *more}
    marks = {n: pytest.mark.long if n in usual else pytest.mark.thorough for n in names}
    return [pytest.param(n, marks=[] if n in FEW else marks[n]) for n in names]


def every(names):
    """All families; those that are not one for each way under the marker `long`."""
    return [pytest.param(n, marks=[] if n in FEW else pytest.mark.long) for n in names]


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


@pytest.mark.parametrize("name", every(NAMES))
def test_sampling_and_x0(root, card, name):
    run, family = seen(name), loading.family_of(pipeline_of(name))
    side = SIDES.get(name, 32)
    assert run.plain.shape == (len(prompts_of(name)), 3, side, side)
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


@pytest.mark.parametrize("name", every(NAMES))
def test_concepts_frames_and_spectra(root, card, name):
    run = seen(name)
    for columns in run.columns:
        curves = np.array([t["similarity"] for t in columns["trajectories"]])
        assert curves.shape == (2, STEPS) and (np.abs(curves) <= 1.001).all()
        assert [frame["step"] for frame in columns["frames"]] == list(range(STEPS))
        assert columns["spectrum"]
    card(name, "concepts")


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name", every(NAMES))
def test_measures(root, card, name, tool):
    family, columns = loading.family_of(pipeline_of(name)), seen(name).columns[0]
    notices = check_measures(FULL, facts_of(inspect_model(spec(name)), TEXTS))
    rows = {
        "attention": [r for r in columns["words"] if r["source"] == "attention"],
        "relevance": [r for r in columns["words"] if r["source"] == "relevance"],
        "faithfulness": columns["faithfulness"],
        "concept-attention": columns["concept_attention"],
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


CHECKS = {
    "attention": check_words,
    "relevance": check_words,
    "faithfulness": check_areas,
    "concept-attention": check_concepts,
}


@pytest.mark.parametrize(
    ("name", "guided"),
    [
        *(pytest.param(*each.values, True, marks=each.marks) for each in every(NAMES)),
        *(pytest.param(*each.values, False, marks=each.marks) for each in ways_to_watch()),
    ],
)
def test_switching_prompts(root, card, name, guided):
    """The ends of a switch are the plain images to the bit, with and without guidance; in between is another image."""
    pipeline = pipeline_of(name)
    family, module = loading.family_of(pipeline), loading.denoiser_of(pipeline)
    if reason := family.missing().get("switch"):
        facts = facts_of(inspect_model(spec(name)), TEXTS)
        (notice,) = check_measures(Measures(switch=LAST), facts)
        assert f"switch is left out because {reason}" in notice
        return card(name, "switch", f"no: {reason}")
    guidance = 3.0 if guided else 0.0 if name in UNGUIDED_AT_0 else 1.0
    sample = partial(generate, pipeline, spec(name, guidance=guidance), seed=0, schedule={})
    there = prompts_of(name)
    back = there[::-1] if len(there) > 1 else prompts_of(name, TEXTS[::-1])
    plain, other = sample(there), sample(back)
    images = dict(
        branches(module, lambda: sample(back), lambda: sample(there), (0, 1, STEPS), STEPS)
    )
    assert torch.equal(images[0], plain) and torch.equal(images[STEPS], other)
    if guided and name != "dit":
        assert not torch.equal(images[1], plain) and not torch.equal(images[1], other)
    return card(name, "switch")


@pytest.mark.parametrize("name", every(NAMES))
def test_redraws(root, card, name):
    """Images drawn anew from half way are others, those from the end the same; what cannot begin at any step is named."""
    pipeline = pipeline_of(name)
    scheduler, module = loading.stage_of(pipeline).scheduler, loading.denoiser_of(pipeline)
    facts = facts_of(inspect_model(spec(name)), TEXTS)
    if reason := unfit(type(scheduler)):
        (notice,) = check_measures(Measures(critical_windows=LAST), facts)
        assert f"critical-windows is left out because {reason}" in notice
        return card(name, "critical-windows", f"no: {reason}")
    assert check_measures(Measures(critical_windows=LAST), facts) == []
    run = partial(generate, pipeline, spec(name), prompts_of(name), seed=0, schedule={})
    plain = record(module, scheduler, run)
    assert torch.equal(plain.images, seen(name).plain)
    again = redraw(module, scheduler, run, plain, STEPS // 2, 1)
    assert again.isfinite().all() and again.shape == plain.images.shape
    assert not torch.equal(again, plain.images)
    assert torch.equal(redraw(module, scheduler, run, plain, len(plain.levels), 1), plain.images)
    return card(name, "critical-windows")


@pytest.mark.parametrize("name", every(NAMES))
def test_information(root, card, name):
    """What a word tells is above 0, of two prompts in a batch; what has no words is named."""
    pipeline, tool = pipeline_of(name), ToolSpec(options={"words": ("dog", "cat")})
    facts = facts_of(inspect_model(spec(name)), TEXTS)
    if reason := facts.missing.get("information"):
        (notice,) = check_measures(Measures(information=replace(tool, options={})), facts)
        assert f"information is left out because {reason}" in notice
        return card(name, "information", f"no: {reason}")
    assert check_measures(Measures(information=tool), facts) == []
    batch, prompts = seen(name).views[0].batch, prompts_of(name)
    sample = partial(generate, pipeline, spec(name), seed=0, schedule={})
    information = Information(batch, tool, sample)
    with Watch(batch, [information]):
        images = sample(prompts)
    assert torch.equal(images, seen(name).plain)
    information.measure(images)
    for item, word in zip(range(len(prompts)), ("dog", "cat"), strict=False):
        (row,) = information.columns(item)["information"]
        assert row["word"] == word and row["nats"] > 0
        assert np.isfinite([*row["density"], *row["signed"], row["effect"], row["change"]]).all()
    module = loading.denoiser_of(pipeline)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    return card(name, "information")


@pytest.mark.parametrize("name", every(NAMES))
def test_recording_changes_no_bit(root, card, name):
    assert torch.equal(seen(name).plain, seen(name).watched)
    module = loading.denoiser_of(pipeline_of(name))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    assert "step" not in vars(loading.stage_of(pipeline_of(name)).scheduler)
    card(name, "recording on = off, bits")


@pytest.mark.parametrize("name", every(NAMES))
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


@pytest.mark.parametrize("name", every(NAMES))
def test_a_batch_is_its_items_one_by_one(root, card, name):
    pipeline, model = pipeline_of(name), spec(name)
    if name in ONE_PROMPT:
        assert loading.family_of(pipeline).solo
        with pytest.raises(RuntimeError, match="must match the size"):
            generate(pipeline, model, all_prompts_of(name), 0, {})
        return card(name, "batch = one by one", "no: diffusers' call takes one prompt at a time")
    alone = [generate(pipeline, model, [p], 0, {}) for p in prompts_of(name)]
    assert torch.allclose(torch.cat(alone), seen(name).plain, atol=1e-3)
    if name != "ddpm":
        assert not torch.allclose(alone[0], alone[1], atol=1e-6), "the prompt does not matter"
    return card(name, "batch = one by one")


@pytest.mark.parametrize("name", every(KNOWN))
def test_weights_sum_to_one_and_are_the_built_in_attention(root, card, name):
    pipeline = pipeline_of(name)
    layers = attention_layers(loading.denoiser_of(pipeline))
    hidden = [layer for layer in layers if "Linear" in type(layer.module.processor).__name__]
    assert bool(hidden) == (name in ("sana", "sana-sprint"))
    read_layers = []

    def look(call, plain_call):
        weights, output = call.weights(), plain_call()
        total = weights.sum(-1)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-5)
        built_in = F.scaled_dot_product_attention(
            call.query, call.key, call.value, attn_mask=call.mask, scale=call.scale
        )
        assert torch.allclose(weights @ call.value, built_in, atol=1e-4)
        read_layers.append(call.layer.name)
        return output

    read = [layer for layer in layers if layer not in hidden]
    with AttentionTap(read, look):
        generate(pipeline, spec(name, steps=2), prompts_of(name), 0, {})
    assert set(read_layers) == {layer.name for layer in read}
    card(name, "weights sum to 1, explicit = built-in")


@pytest.mark.parametrize("name", every(WORDS))
def test_words_are_where_the_encoder_has_them(root, name):
    """Attention is on the words of the right item: swapping the prompts swaps the words' shares."""
    run = seen(name)
    for columns, text in zip(run.columns, TEXTS, strict=name not in ONE_PROMPT):
        rows = [r for r in columns["words"] if r["layer_group"] == "all"]
        words = [r["word"] for r in rows if r["source"] == "attention" and r["word_index"] >= 0]
        assert words == text.split()


@pytest.mark.parametrize("name", ways_to_watch())
def test_sizes_that_are_not_square(root, card, name):
    height, width = WIDE.get(name, (32, 64))
    model = spec(name, height=height, width=width)
    if name in ("dit", "ddpm"):
        with pytest.raises(ModelError, match="takes no height"):
            check_call(inspect_model(model), ["dog"])
        return card(name, "not square", "refused")
    assert check_call(inspect_model(model)) is not None
    run = watch(name, pipeline_of(name), model, prompts_of(name)[:1])
    assert run.plain.shape == (1, 3, height, width) and torch.equal(run.plain, run.watched)
    assert torch.equal(run.replays[-1], run.views[-1].prediction)
    size = tuple(run.views[0].latents.shape[-2:])
    assert size[1] * height == size[0] * width
    for row in run.columns[0]["explanations"]:
        assert row["width"] * height == row["height"] * width
    return card(name, "not square")


@pytest.mark.parametrize("name", every(KNOWN))
def test_prompts_longer_than_the_window(root, card, name):
    pipeline = pipeline_of(name)
    if name in ("dit", "ddpm"):
        return card(name, "long prompts", "no: no prompts")
    text = "a dog on " * 400
    prompt = Prompt("long", text, "test", "", {}, 0)
    measures = Measures(attention=FULL.attention, df_cam=LAST)
    run = watch(name, pipeline, spec(name, steps=2), (prompt,), replace(measures, df_cam=None))
    assert torch.equal(run.plain, run.watched)
    tokenizer, limit = prompt_window(pipeline, loading.family_of(pipeline))
    assert limit and len(tokenizer(text, verbose=False).input_ids) > limit
    for row in run.columns[0]["words"]:
        assert row["word_index"] < limit
    return card(name, "long prompts")


@pytest.mark.parametrize("name", every(KNOWN))
def test_negative_prompts(root, card, name):
    model = spec(name, negative_prompt="a red rocket")
    if name in (*UNSTEERED, "dit", "ddpm", "lcm", "flux-dev", "flux-schnell", "kandinsky22"):
        with pytest.raises(ModelError, match="negative_prompt cannot be used"):
            check_call(inspect_model(model), ["dog"])
        return card(name, "negative prompts", "refused")
    assert check_call(inspect_model(model)) == []
    run = watch(name, pipeline_of(name), model, prompts_of(name), Measures())
    assert torch.equal(run.plain, run.watched)
    assert torch.equal(run.replays[-1], run.views[-1].prediction)
    assert not torch.equal(run.plain, seen(name).plain)
    return card(name, "negative prompts")


@pytest.mark.parametrize("name", ways_to_watch("sd-turbo", "flux-schnell"))
def test_guidance_off(root, card, name):
    model = spec(name, guidance=0.0 if name in UNGUIDED_AT_0 else 1.0)
    run = watch(name, pipeline_of(name), model, prompts_of(name), replace(NO_GAMES, lime=None))
    assert torch.equal(run.plain, run.watched)
    for view, replay in zip(run.views, run.replays, strict=True):
        assert view.denoiser.conditions == 1 and torch.equal(replay, view.prediction)
    assert (run.columns[0]["explanations"] == []) == (name == "unknown")
    notices = check_call(inspect_model(model), ["dog"])
    takes = not [notice for notice in notices if "guidance has no effect" in notice]
    assert takes == (name not in ("ddpm", "flux-schnell"))
    card(name, "guidance off", "yes" if takes else "no: it takes none")


@pytest.mark.parametrize(("name", "dtype"), shared_out(FEW, "bfloat16", "float16"))
def test_half_precision(root, card, name, dtype):
    model = spec(name, dtype=dtype)
    pipeline = loading.open_pipeline(model, CPU)
    measures = FULL if name == FEW[0] else NO_GAMES
    run = watch(name, pipeline, model, prompts_of(name), measures)
    assert loading.denoiser_of(pipeline).dtype == getattr(torch, dtype)
    assert torch.equal(run.plain, run.watched)
    for view, replay in zip(run.views, run.replays, strict=True):
        assert torch.equal(replay, view.prediction)
    assert torch.allclose(run.plain, seen(name).plain, atol=0.35)
    card(name, dtype)


@pytest.mark.parametrize("name", ways_to_watch())
def test_offload(root, card, name):
    pipeline = loading.open_pipeline(spec(name), CPU)
    if pipeline.model_cpu_offload_seq is None:
        return card(name, "offload", "no: the pipeline has none")
    pipeline.enable_model_cpu_offload(device="cpu")  # its hooks, with the CPU in the GPU's place
    measures = FULL if name == FEW[0] else NO_GAMES
    run = watch(name, pipeline, spec(name), prompts_of(name), measures)
    assert torch.equal(run.watched, seen(name).plain)
    for view, replay in zip(run.views, run.replays, strict=True):
        assert torch.equal(replay, view.prediction)
    return card(name, "offload")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU, and there is none")
@pytest.mark.parametrize(
    "options", [{}, {"dtype": "bfloat16"}, {"offload": "model"}, {"offload": "sequential"}], ids=str
)
@pytest.mark.parametrize("name", every(KNOWN))
def test_on_a_gpu(root, name, options):
    model = spec(name, **{"dtype": "float16"} | options)
    pipeline = loading.open_pipeline(model, torch.device("cuda"))
    run = watch(name, pipeline, model, prompts_of(name))
    assert torch.equal(run.plain, run.watched)
    for view, replay in zip(run.views, run.replays, strict=True):
        assert torch.equal(replay, view.prediction)
    assert torch.allclose(run.plain.cpu(), seen(name).plain, atol=0.35)


@pytest.mark.long
@pytest.mark.parametrize(("name", "key"), shared_out(OLDER, "vae_tiling", "vae_slicing"))
def test_tiling_and_slicing(root, card, name, key):
    model = spec(name, **{key: True})
    if name in ("kandinsky22", "ddpm"):
        with pytest.raises(ModelError, match=f"{key} is not offered"):
            check_call(inspect_model(model), ["dog"])
        return card(name, key, "refused")
    check_call(inspect_model(model), ["dog"])
    pipeline = loading.open_pipeline(model, CPU)
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
    pipeline = loading.open_pipeline(model, CPU)
    if name == "dit":  # which has one size
        pipeline.vae.tile_latent_min_size, pipeline.vae.tile_sample_min_size = 8, 16
    tiled, used = pipeline.vae.tiled_decode, []
    monkeypatch.setattr(
        pipeline.vae, "tiled_decode", lambda *a, **k: used.append(1) or tiled(*a, **k)
    )
    run = watch(name, pipeline, model, prompts_of(name)[:1], Measures())
    assert len(used) >= 4  # two final images, two steps
    assert torch.equal(run.plain, run.watched)
    last = run.views[-1]
    assert torch.allclose(last.batch.decode(last.next_latents), run.plain, atol=1e-6)


@pytest.mark.parametrize("name", ways_to_watch(*OLDER, "unknown", "cogview4", names=NAMES))
def test_a_worker_runs_the_folder(root, name):
    """The whole way of a study: one row of the shard for each prompt, none failed."""
    study = load_study("data/studies/small.toml")
    study = replace(study, measures=replace(Measures(), frames=Frames(), attention=LAST))
    bank = ConceptBank("one", (Concept("dog", "object", ("a dog",)),))
    with Worker(study, spec(name), bank, "cpu") as worker:
        rows = worker.run(WorkUnit("u", worker.model, all_prompts_of(name), 0))
    assert [row["error"] for row in rows] == ["", ""]
    assert worker.description["family"] == loading.family_of(pipeline_of(name)).name


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


def test_an_unknown_class_is_noticed(root, card):
    (notice,) = check_call(inspect_model(spec("unknown")))
    for column in ("weights sum to 1, explicit = built-in", *SETTINGS):
        card("unknown", column, "no: not tested; the class is not in the table of families")
    assert "IFPipeline is not in the table of families" in notice
    assert "df-rise" in notice and "docs/families.md" in notice
