"""Relevance under the paper's protocol: by hand on small cases, and against autograd on a tiny Stable Diffusion."""

from dataclasses import replace

import pytest
import torch

from pipeline.diffusion.generate import count_calls, generate
from pipeline.diffusion.watch import Batch, Watch
from pipeline.errors import ModelError
from pipeline.explain.attention import AttentionLayer, attention_layers
from pipeline.explain.paper_relevance import (
    encoder_layers,
    forward_of_both,
    half_relevance,
    on_grid,
    paper_relevance,
    split_halves,
)
from pipeline.explain.recorders import RelevanceRecorder
from pipeline.explain.relevance import AttentionGradient, attention_gradients
from pipeline.models import loading
from pipeline.study.prompts import Prompt
from tests.support import families

ALL = slice(None)
TEXTS = ("a dog left of a rocket", "a rocket on a plain red background")


def record(kind, averaged):
    return AttentionGradient(kind, ALL, ALL, averaged)


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def relative(matrix):
    rest = matrix - torch.eye(len(matrix))
    return rest / rest.sum(1, keepdim=True) + torch.eye(len(matrix))


def test_the_rules_by_hand_on_one_grid():
    text, self_attention, cross, last = rand(1, 3, 3), rand(1, 4, 4, seed=1), rand(1, 4, 3, seed=2), rand(1, 4, 4, seed=3)  # fmt: skip
    relevance = half_relevance(
        [
            record("text", text),
            record("self", self_attention),
            record("cross", cross),
            record("self", last),
        ],
        (2, 2),
    )
    r_qq, r_ii = torch.eye(3) + text[0], torch.eye(4) + self_attention[0]
    r_iq = relative(r_ii).T @ cross[0] @ relative(r_qq)
    r_iq = r_iq + last[0] @ r_iq
    expected = r_iq / r_iq.square().sum(1, keepdim=True).sqrt()
    assert torch.allclose(relevance.flatten(1).T, expected, atol=1e-6)


def test_a_coarse_layer_is_laid_over_the_finest_grid():
    """2 x 2 positions over 4 x 4: a row for each of the four, a column shared by the four, so that rows keep their sums."""
    coarse = rand(1, 4, 4)
    fine = on_grid(record("self", coarse), (2, 2), (4, 4))
    assert fine.shape == (1, 16, 16)
    assert torch.allclose(fine.sum(2)[0, [0, 3, 12, 15]], coarse.sum(2)[0])
    assert float(fine[0, 0, 15]) == pytest.approx(float(coarse[0, 0, 3]) / 4)
    words = on_grid(record("cross", rand(1, 4, 5)), (2, 2), (4, 4))
    assert torch.equal(words[0, 5], rand(1, 4, 5)[0, 0])


def test_each_half_has_its_own_prompts_layers():
    """The pipeline encodes the prompt first; the denoiser has the negative half first."""
    text = [record("text", torch.full((1, 2, 2), float(n))) for n in range(4)]
    image = record("cross", torch.stack([torch.zeros(4, 2), torch.ones(4, 2)]))
    negative, positive = split_halves([*text, image], 2)
    assert [float(r.averaged[0, 0, 0]) for r in negative] == [2, 3, 0]
    assert [float(r.averaged[0, 0, 0]) for r in positive] == [0, 1, 1]


@pytest.fixture(autouse=True)
def tiny(root):
    """The folder of tiny pipelines."""


def at_last_step(act, negative="", guidance=3.0, texts=TEXTS):
    model = families.spec("sd-epsilon", guidance=guidance, negative_prompt=negative)
    pipeline = loading.open_pipeline(model, families.CPU)
    prompts = tuple(Prompt(f"k{i}", text, "test", "", {}, i) for i, text in enumerate(texts))
    total = count_calls(pipeline.scheduler, model.steps, {})
    batch = Batch(
        prompts, 0, pipeline, loading.family_of(pipeline), families.scorer(), total, guidance > 1,
        guidance, negative_prompt=negative,
    )  # fmt: skip

    class Last:
        def on_step(self, view):
            if view.step == total - 1:
                act(view)

        def columns(self, item):
            return {}

    with Watch(batch, [Last()]):
        return generate(pipeline, model, prompts, 0, {})


@pytest.mark.parametrize(("negative", "guidance"), [("", 3.0), ("a cat", 3.0), ("", 1.0)])
def test_a_stable_diffusion_gives_maps_of_its_tokens(negative, guidance):
    maps_of_items = []
    at_last_step(lambda view: maps_of_items.extend(paper_relevance(view, i) for i in (0, 1)), negative, guidance)  # fmt: skip
    for maps in maps_of_items:
        assert float(maps.min()) >= 0
        lengths = maps.square().sum(0)
        assert float(lengths.max()) <= 1 + 1e-5  # the mean of unit vectors
    assert not torch.allclose(maps_of_items[0], maps_of_items[1], atol=1e-3)


def test_the_text_encoders_attention_has_its_part():
    """R_qq mixes the words: without the encoder's layers the map is another one."""
    kept = {}

    def look(view):
        kept["whole"] = paper_relevance(view, 0)
        encoder = view.batch.pipeline.text_encoder
        layers = encoder_layers(encoder)
        size = tuple(view.latents.shape[-2:])
        both = [*layers, *attention_layers(view.denoiser.module)]
        records = attention_gradients(forward_of_both(view.batch, view.denoiser, 0), both)
        halves = split_halves(records, 2)
        kept["alone"] = torch.stack(
            [half_relevance([r for r in half if r.kind != "text"], size) for half in halves]
        ).mean(0)
        assert len(layers) == encoder.config.num_hidden_layers
        assert all(isinstance(layer, AttentionLayer) and layer.kind == "text" for layer in layers)

    at_last_step(look)
    assert not torch.allclose(kept["whole"], kept["alone"], atol=1e-3)


def test_gradients_are_those_of_the_raw_sum_of_both_halves():
    """Of the text encoder's first layer, against autograd through transformers' own eager attention."""

    def look(view):
        pipeline, denoiser = view.batch.pipeline, view.denoiser
        encoder = pipeline.text_encoder
        layers = [*encoder_layers(encoder), *attention_layers(denoiser.module)]
        halves = split_halves(
            attention_gradients(forward_of_both(view.batch, denoiser, 1), layers), 2
        )
        assert encoder.config._attn_implementation == "sdpa"
        encoder.set_attn_implementation("eager")
        encoder.requires_grad_(True)
        with torch.enable_grad():
            ids = pipeline.tokenizer(
                TEXTS[1], padding="max_length", truncation=True, return_tensors="pt"
            ).input_ids
            out = encoder(ids, output_attentions=True)
            context = denoiser.kwargs["encoder_hidden_states"].clone()
            context[3] = out[0][0]
            again = replace(denoiser, kwargs={**denoiser.kwargs, "encoder_hidden_states": context})
            target = torch.cat(again.halves_of(view.latents[1:], 1)).sum()
            (gradient,) = torch.autograd.grad(target, out.attentions[0])
        expected = (gradient * out.attentions[0]).clamp(min=0).mean(1)
        assert torch.allclose(halves[1][0].averaged, expected, rtol=1e-3, atol=1e-8)
        encoder.set_attn_implementation("sdpa")
        encoder.requires_grad_(False)

    at_last_step(look)


def test_it_changes_no_image():
    image = at_last_step(lambda view: paper_relevance(view, 0))
    assert torch.equal(image, at_last_step(lambda view: None))


def test_another_conditioning_is_refused():
    def look(view):
        view.denoiser.kwargs["encoder_hidden_states"].add_(1.0)
        with pytest.raises(ModelError, match="follows the text encoder"):
            paper_relevance(view, 0)
        view.denoiser.kwargs["encoder_hidden_states"].sub_(1.0)

    at_last_step(look)


def test_a_words_score_is_the_sum_over_its_tokens():
    taken = {}

    def look(view):
        recorder = RelevanceRecorder(view.batch, "park2024")
        taken["words"] = recorder.take(view, [0])[0]
        taken["tokens"] = paper_relevance(view, 0)
        taken["rows"] = recorder.rows(0)
        pipeline = view.batch.pipeline
        taken["layout"] = view.batch.family.layout(pipeline, "a dog left of a rocket", len(taken["tokens"]))  # fmt: skip

    at_last_step(look)
    layout = torch.from_numpy(taken["layout"])
    for index, row in enumerate(taken["rows"]):
        maps_of_word = taken["tokens"][layout == row["word_index"]]
        assert torch.allclose(taken["words"].maps[index], maps_of_word.sum(0), atol=1e-6)
        assert row["mass"][0] == pytest.approx(float(maps_of_word.sum()), rel=1e-4)
    scaled = [row["scaled"][0] for row in taken["rows"]]
    assert min(scaled) == 0 and max(scaled) == 1
