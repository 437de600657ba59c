"""ConceptAttention: concepts only look on, and a map marks where the attention outputs are the concept's."""

from functools import cache

import pytest
import torch
from torch import nn

from pipeline.diffusion.denoiser import TEXTS, first_output
from pipeline.diffusion.phrases import Phrases, encode_phrases, encode_texts
from pipeline.explain.attention import AttentionCall, AttentionLayer, text_layers
from pipeline.explain.concept_attention import ConceptStream, concept_maps, shares
from pipeline.models import loading
from pipeline.study.concepts import Concept
from tests.support.families import WORDS, pipeline_of, seen

DOG = Concept("dog", "object", ("a dog", "a picture of a dog"))
CAT = Concept("cat", "object", ("a cat",))
RED = Concept("red", "colour", ("red",))
BLUE = Concept("blue", "colour", ("a blue background",))
BANK = (DOG, CAT, RED, BLUE)
UNABLE = ("z-image", "lumina2", "krea2", "qwen-image", "hunyuan-image", "hunyuan-distilled")
CONCEPTS = [name for name in WORDS if name not in UNABLE]
USUAL = ("sd-epsilon", "sd35", "flux-dev", "auraflow", "pixart-alpha", "sana", "sd3-pag", "prx")


def usual(names):
    return [pytest.param(n, marks=[] if n in USUAL else pytest.mark.thorough) for n in names]


@cache
def phrases_of(name, bank=BANK):
    pipeline = pipeline_of(name)
    return encode_phrases(pipeline, loading.family_of(pipeline), bank)


@pytest.mark.long
@pytest.mark.parametrize("name", usual(CONCEPTS))
def test_concepts_are_read_as_the_pipeline_reads_prompts(root, name):
    pipeline, view = pipeline_of(name), seen(name).views[-1]
    texts = [prompt.text for prompt in view.batch.prompts]
    read = encode_texts(pipeline, view.batch.family, texts)
    kwargs = view.denoiser.kwargs
    captured = next(kwargs[key] for key in TEXTS if key in kwargs)[-len(texts) :]
    assert torch.allclose(read, captured, atol=1e-5)
    phrases = phrases_of(name)
    assert torch.allclose(phrases.average.sum(1), torch.ones(4))
    assert phrases.families() == [[0, 1], [2, 3]]
    assert phrases.phrase.unique().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", usual(CONCEPTS))
def test_image_and_prompt_do_not_see_the_concepts(root, name):
    """The call with the concepts predicts what the plain one does, and the maps of a softmax sum to 1 everywhere."""
    view, phrases = seen(name).views[-1], phrases_of(name)
    outputs, items = [], list(range(view.denoiser.batch))
    hook = view.denoiser.module.register_forward_hook(lambda *call: outputs.append(call[-1]))
    plain = view.denoiser.conditional_of(view.latents, items)
    maps = concept_maps(view.denoiser, items, phrases, phrases.families())
    hook.remove()
    unpack = view.denoiser.packing.unpack
    alone, beside = (unpack(first_output(output))[:, : plain.shape[1]] for output in outputs)
    assert torch.allclose(beside, alone, atol=1e-4)
    assert torch.equal(view.denoiser.conditional_of(view.latents, items), plain)
    assert maps.groups[0] == "all" and len(maps.groups) >= 2
    assert (maps.maps >= 0).all()
    for members in phrases.families():
        total = maps.maps[:, :, members].sum(2)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-5)


@pytest.mark.parametrize("name", ["sd-epsilon", "sd35"])
def test_a_concept_depends_on_no_other_family(root, name):
    view = seen(name).views[-1]
    alone = phrases_of(name, (DOG, CAT))
    together = concept_maps(view.denoiser, [1], phrases_of(name), [[0, 1], [2, 3]])
    apart = concept_maps(view.denoiser, [1], alone, [[0, 1]])
    assert torch.allclose(together.maps[:, :, :2], apart.maps, atol=1e-5)


def test_layers_average_to_the_whole(root):
    view, phrases = seen("sd35").views[-1], phrases_of("sd35")
    sets = phrases.families()
    single = concept_maps(view.denoiser, [0], phrases, sets, lambda layer: layer.name)
    names = [layer.name for layer in text_layers(view.denoiser.module)]
    assert single.groups == ("all", *names)
    assert torch.allclose(single.maps[:, 1:].mean(1), single.maps[:, 0], atol=1e-6)


def corners():
    """Four orthogonal directions of length 8, one for each kind of thing."""
    return 8 * torch.eye(4)


def of_tokens(rows):
    return torch.stack([corners()[row] for row in rows])[None, None]


KNOWN = Phrases((DOG, CAT), torch.zeros(2, 4), torch.tensor([0, 1]), torch.eye(2))
LEFT_DOG, RIGHT_CAT = [0, 0], [1, 1]


def test_cross_attention_of_known_answer():
    """The left half attends to `dog`, the right to `cat`: their maps are those halves, whatever else is in the prompt."""
    layer = AttentionLayer("attn2", "mid", "cross", nn.Identity())
    query = of_tokens([*LEFT_DOG, *RIGHT_CAT])
    tokens = of_tokens([0, 1, 2, *(0, 1)])  # the prompt's dog, cat, the; then the concepts
    call = AttentionCall(layer, query, tokens, tokens, None, 1.0, 5)
    stream = ConceptStream(KNOWN, [[0, 1]])
    output = stream.see(call, lambda: pytest.fail("not asked for"))
    assert torch.allclose(output, query, atol=1e-5)
    maps = stream.finish(["all"], 2, 2).maps[0, 0]
    wanted = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert torch.allclose(maps[0], wanted, atol=0.01) and torch.allclose(
        maps[1], 1 - wanted, atol=0.01
    )


def test_text_as_added_keys_of_known_answer():
    """Text that attends to nothing is text as in cross-attention, with the image's keys behind it (PRX)."""
    layer = AttentionLayer("attention", "blocks 0-0", "joint", nn.Identity(), text_first=True)
    query = of_tokens([*LEFT_DOG, *RIGHT_CAT])
    tokens = of_tokens([0, 1, 2, *(0, 1), *[3] * 4])  # the prompt's, the concepts', the image's
    call = AttentionCall(layer, query, tokens, tokens, None, 1.0, 5)
    assert call.image_keys() == slice(5, 9) and call.text_positions() == slice(0, 5)
    stream = ConceptStream(KNOWN, [[0, 1]])
    output = stream.see(call, lambda: pytest.fail("not asked for"))
    assert torch.allclose(output, query, atol=1e-5)
    maps = stream.finish(["all"], 2, 2).maps[0, 0]
    assert maps[0, 0].min() > 0.99 and maps[0, 1].max() < 0.01


@pytest.mark.parametrize("text_first", [True, False])
def test_joint_attention_of_known_answer(text_first):
    """A concept's output is that of the image positions which it attends to; what it is itself does not matter."""
    layer = AttentionLayer("attn", "blocks 0-0", "joint", nn.Identity(), text_first)
    image, prompt, concepts = [*LEFT_DOG, *RIGHT_CAT], [2, 3], [0, 1]
    order = [*prompt, *concepts, *image] if text_first else [*image, *prompt, *concepts]
    tokens = of_tokens(order)
    value = tokens.clone()
    where_concepts = slice(2, 4) if text_first else slice(6, 8)
    value[:, :, where_concepts] = 0.0  # a concept gets its output from the image
    call = AttentionCall(layer, tokens, tokens, value, None, 1.0, 4)
    stream = ConceptStream(KNOWN, [[0, 1]])
    output = stream.see(call, lambda: pytest.fail("not asked for"))
    where = call.image_positions()
    assert torch.allclose(output[:, :, where], of_tokens(image), atol=1e-5)
    assert torch.allclose(output[:, :, where_concepts], of_tokens(concepts) * 2 / 3, atol=1e-5)
    maps = stream.finish(["all"], 2, 2).maps[0, 0]
    assert maps[0, 0].min() > 0.99 and maps[0, 1].max() < 0.01


def test_concepts_are_compared_within_their_set():
    image, concepts = torch.randn(2, 5, 8), torch.randn(2, 4, 8)
    result = shares(image, concepts, [[0, 2], [1], [3]])
    assert torch.allclose(result[..., [0, 2]].sum(-1), torch.ones(2, 5))
    whole = shares(image, concepts, [[0, 1, 2, 3]])
    assert torch.equal(result[..., 1], whole[..., 1])  # alone in its family: against the bank
    assert torch.allclose(shares(image, 5 * concepts, [[0, 1, 2, 3]]), whole, atol=1e-6)
