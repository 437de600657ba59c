"""The scorer: unit vectors, and the same numbers as open_clip's own preprocessing."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import save_file

from pipeline.errors import ModelError
from pipeline.models.scorer import Fitting, Scorer, check_scorer, fit
from pipeline.study.plan import find_revisions
from pipeline.study.reading import load_study, parse_study
from pipeline.study.spec import ScorerSpec, study_spec

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


def test_a_name_that_open_clip_does_not_know():
    with pytest.raises(ModelError, match=r"'ViT-B-33' is no folder .* \(close: ViT-B-32"):
        check_scorer(ScorerSpec("ViT-B-33", "openai"))


@pytest.mark.parametrize(("tag", "said"), [("", "is missing"), ("laion", "= 'laion' is not known")])
def test_a_name_needs_a_tag_that_it_has(tag, said):
    """Without one open_clip would go on with random weights."""
    with pytest.raises(
        ModelError, match=f"scorer.pretrained {said}.*allowed: openai, laion400m_e31"
    ):
        check_scorer(ScorerSpec("ViT-B-32", tag))
    check_scorer(ScorerSpec("ViT-B-32", "laion2b_s34b_b79k"))
    check_scorer(ScorerSpec("ViT-B-16-SigLIP", "webli"))


def test_a_hub_id_names_its_weights_itself():
    check_scorer(ScorerSpec("hf-hub:owner/tiny"))
    with pytest.raises(ModelError, match="'hf-hub:tiny' is no Hub id"):
        check_scorer(ScorerSpec("hf-hub:tiny"))
    with pytest.raises(ModelError, match="'openai' has no effect"):
        check_scorer(ScorerSpec("hf-hub:owner/tiny", "openai"))


def test_a_study_takes_names_tags_and_hub_ids():
    study = load_study("data/studies/small.toml")
    for source, tag in (("ViT-B-32", "openai"), ("hf-hub:owner/tiny", "")):
        values = study_spec(study) | {"scorer": {"source": source, "pretrained": tag}}
        parsed = parse_study(values, study.path)
        assert parsed.scorer == ScorerSpec(source, tag)
        assert find_revisions(replace(parsed, models=())).scorer == tag


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and an empty cache of huggingface_hub. Returns: what puts a model there, as a download would."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def put(name, without=()):
        folder = tmp_path / "cache" / f"models--{name.replace('/', '--')}"
        snapshot = folder / "snapshots" / ("0" * 40)
        shutil.copytree(CLIP, snapshot, ignore=shutil.ignore_patterns(*without))
        config = json.loads((snapshot / "open_clip_config.json").read_text())
        config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = name
        (snapshot / "open_clip_config.json").write_text(json.dumps(config))
        for absent in ("config.json", "added_tokens.json", "special_tokens_map.json"):
            marker = folder / ".no_exist" / ("0" * 40) / absent
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0" * 40)
        return config["model_cfg"]

    return put


def test_a_hub_id_offline(offline, scorer):
    spec = ScorerSpec("hf-hub:owner/tiny")
    with pytest.raises(
        ModelError, match=r"'hf-hub:owner/tiny' could not be loaded: .* or the Hub within reach"
    ):
        Scorer(spec)
    offline("owner/tiny")
    images = torch.rand(2, 3, 64, 64)
    cached = Scorer(spec)
    assert torch.equal(cached.images(images), scorer.images(images))
    assert torch.equal(cached.texts(["a dog"]), scorer.texts(["a dog"]))


def test_a_hub_id_whose_weights_are_not_there_is_not_left_random(offline):
    offline("owner/tiny", without=("*.safetensors",))
    with pytest.raises(ModelError, match="could not be loaded: Required pretrained weights"):
        Scorer(ScorerSpec("hf-hub:owner/tiny"))


def test_a_tag_offline(offline, monkeypatch, tmp_path, scorer):
    """A name of open_clip's own list, made here of the bundled scorer."""
    spec = ScorerSpec("tiny-scenes", "emoji")
    tags = {
        "emoji": {
            "hf_hub": "owner/tagged/",
            "mean": (0.5,) * 3,
            "std": (0.5,) * 3,
            "resize_mode": "squash",
        }
    }
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-scenes", tags)
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [tmp_path / "configs"])
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {})
    (tmp_path / "configs").mkdir()
    model = json.loads(Path(CLIP, "open_clip_config.json").read_text())["model_cfg"]
    model["text_cfg"]["hf_tokenizer_name"] = "owner/tagged"
    (tmp_path / "configs" / "tiny-scenes.json").write_text(json.dumps(model))
    open_clip.factory._rescan_model_configs()
    with pytest.raises(ModelError, match="'tiny-scenes' could not be loaded: .*tag 'emoji'"):
        Scorer(spec)
    offline("owner/tagged")
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(Scorer(spec).images(images), scorer.images(images))


def test_a_pickle_in_a_folder_is_not_loaded(tmp_path):
    for file in Path(CLIP).iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, tmp_path / file.name)
    torch.save({}, tmp_path / "open_clip_pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no open_clip_model\.safetensors .* Only safetensors"):
        Scorer(ScorerSpec(str(tmp_path)))


PREPARES = {
    "mean": [0.5, 0.4, 0.3],
    "std": [0.5, 0.6, 0.7],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory):
    """A sigmoid head: a bias on the logits, a text tower of its own, pictures squashed, a mean and deviation of its own."""
    folder = tmp_path_factory.mktemp("siglip")
    return folder_with(folder, PREPARES), folder


def folder_with(folder, prepares, **model):
    """A folder in open_clip's layout with random weights. Returns: the model in it."""
    config = json.loads(Path(CLIP, "open_clip_config.json").read_text())
    config["model_cfg"] |= {
        "custom_text": True,
        "init_logit_bias": -10,
        "init_logit_scale": 2.3,
    } | model
    config["preprocess_cfg"] |= prepares
    for file in Path(CLIP).iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, folder / file.name)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    parsed = {k: v for k, v in config["model_cfg"].items() if k != "custom_text"}
    model = open_clip.CustomTextCLIP(**parsed)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return model.eval()


def test_a_siglip_type_model(siglip_folder):
    """What is kept is the cosine: scale and bias of the sigmoid loss change no order."""
    model, folder = siglip_folder
    siglip = Scorer(ScorerSpec(str(folder)))
    assert type(siglip._model).__name__ == "CustomTextCLIP" and model.logit_bias == -10
    assert siglip._fit == Fitting(64, True, "bicubic", (0.5, 0.4, 0.3), (0.5, 0.6, 0.7))
    images, texts = siglip.images(torch.rand(3, 3, 64, 64)), siglip.texts(["a dog", "a cat"])
    assert torch.allclose(images.norm(dim=-1), torch.ones(3), atol=1e-5)
    vectors = F.normalize(model.encode_text(siglip._tokenize(["a dog", "a cat"])), dim=-1)
    assert torch.allclose(texts, vectors, atol=1e-5)


@pytest.mark.parametrize(
    "prepares",
    [PREPARES, PREPARES | {"interpolation": "bilinear"}, PREPARES | {"resize_mode": "shortest"}],
)
@pytest.mark.parametrize("size", [(64, 64), (96, 163)])
def test_pictures_are_prepared_as_the_model_says(tmp_path, prepares, size):
    """Against open_clip's own transform of the same picture, whose rounding to bytes is the difference."""
    folder_with(tmp_path, prepares)
    ours = Scorer(ScorerSpec(str(tmp_path)))
    _, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    noise = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    pixels = (F.avg_pool2d(noise, 9, 1, 4)[0] * 255).round().to(torch.uint8)
    theirs = transform(Image.fromarray(pixels.permute(1, 2, 0).numpy()))
    how = ours._fit
    fitted = fit(pixels[None] / 255, how.size, how.squash, how.mode)
    assert torch.allclose(((fitted - ours._mean) / ours._std)[0], theirs, atol=0.02)


def test_padding_is_refused_by_name(tmp_path):
    folder_with(tmp_path, {"resize_mode": "longest"})
    with pytest.raises(ModelError, match="prepares images with ResizeKeepRatio, CenterCropOrPad"):
        Scorer(ScorerSpec(str(tmp_path)))
