"""The scorer: unit vectors, and the same numbers as open_clip's own preprocessing."""

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from pipeline.errors import ModelError
from pipeline.scorer import Scorer, fit
from pipeline.study import ScorerSpec

CLIP = "data/models/scenes-clip"


@pytest.fixture(scope="module")
def scorer():
    return Scorer(ScorerSpec(CLIP))


def test_embeddings_are_unit_vectors(scorer):
    images = scorer.images(torch.rand(3, 3, 64, 64))
    texts = scorer.texts(["a dog", "", "x" * 10_000, "犬 🐶 \0 <b>"])
    assert torch.allclose(images.norm(dim=-1), torch.ones(3), atol=1e-5)
    assert torch.allclose(texts.norm(dim=-1), torch.ones(4), atol=1e-5)


def test_batches_do_not_matter(scorer):
    images = torch.rand(4, 3, 64, 64)
    one_by_one = torch.cat([scorer.images(image[None]) for image in images])
    assert torch.allclose(scorer.images(images), one_by_one, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (96, 128), (48, 48)])
def test_same_as_open_clips_transform(scorer, size):
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{CLIP}")
    pixels = torch.randint(
        0, 256, (*size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    smooth = F.avg_pool2d(pixels.permute(2, 0, 1)[None].float(), 5, 1, 2)[0].round().to(torch.uint8)
    picture = Image.fromarray(smooth.permute(1, 2, 0).numpy())
    with torch.no_grad():
        theirs = F.normalize(model.eval().encode_image(transform(picture)[None]), dim=-1)
    ours = scorer.images(smooth[None].float() / 255)
    assert float((ours * theirs).sum()) > 0.999


def test_a_concept_is_the_mean_of_its_phrasings(scorer):
    phrasings = ("a dog", "a picture of a dog")
    expected = F.normalize(scorer.texts(list(phrasings)).mean(0), dim=-1)
    assert torch.equal(scorer.concept(phrasings), expected)


def test_fit_squashes_where_it_is_asked_to():
    image = torch.zeros(1, 3, 64, 128)
    image[..., 64:] = 1
    assert fit(image, 64, squash=True)[..., 32:].mean() > 0.98


def test_fit_crops_the_middle():
    image = torch.zeros(1, 3, 64, 128)
    image[..., 32:96] = 1
    assert fit(image, 64).mean() == 1


def test_a_folder_without_safetensors(tmp_path):
    with pytest.raises(ModelError, match=r"open_clip_model\.safetensors"):
        Scorer(ScorerSpec(str(tmp_path)))


def test_an_unknown_name_says_what_to_give():
    with pytest.raises(ModelError, match="local|open_clip name"):
        Scorer(ScorerSpec("no-such-model"))


def test_a_siglip_type_model(tmp_path):
    """Sigmoid loss: a bias on the logits, a text tower of its own, squashed images; the cosine is what we keep."""
    config = json.loads(Path(CLIP, "open_clip_config.json").read_text())
    config["model_cfg"] |= {"custom_text": True, "init_logit_bias": -10, "init_logit_scale": 2.3}
    for file in Path(CLIP).iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, tmp_path / file.name)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    cfg = {k: v for k, v in config["model_cfg"].items() if k != "custom_text"}
    model = open_clip.CustomTextCLIP(**cfg)
    assert model.logit_bias is not None
    save_file(model.state_dict(), tmp_path / "open_clip_model.safetensors")
    siglip = Scorer(ScorerSpec(str(tmp_path)))
    assert type(siglip._model).__name__ == "CustomTextCLIP"
    images, texts = siglip.images(torch.rand(3, 3, 64, 64)), siglip.texts(["a dog", "a cat"])
    assert torch.allclose(images.norm(dim=-1), torch.ones(3), atol=1e-5)
    own = F.normalize(model.eval().encode_text(siglip._tokenize(["a dog", "a cat"])), dim=-1)
    assert torch.allclose(texts, own, atol=1e-5)
