"""Scorers whose weights a user has: CLIP in transformers' layout (PickScore), SigLIP 2 and PE in open_clip's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from pipeline.errors import ModelError
from pipeline.models.scorer import Scorer, check_scorer
from pipeline.models.scorer_files import check_scorer_folder
from pipeline.study.plan import find_revisions
from pipeline.study.reading import load_study
from pipeline.study.spec import ScorerSpec

UNET = Path("data/models/scenes-unet/tokenizer")
TEXTS = ["a cat", "a red dog left of a rocket", "x " * 200]


@pytest.fixture(scope="module")
def pick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIPModel with random weights, in the layout in which PickScore is published."""
    folder = tmp_path_factory.mktemp("pick")
    tokenizer = CLIPTokenizer.from_pretrained(UNET)
    tower = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    text = {
        **tower, "vocab_size": len(tokenizer), "max_position_embeddings": 20,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
    }  # fmt: skip
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=text,
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder


def picture(width: int, height: int) -> Image.Image:
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    smooth = F.avg_pool2d(noise, 5, 1, 2)[0]
    return Image.fromarray((smooth * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


@pytest.mark.parametrize("size", [(32, 32), (48, 64), (64, 48)])
def test_the_numbers_are_those_of_transformers(pick: Path, size: tuple[int, int]) -> None:
    """PickScore is exp(logit_scale) times the cosine, by the published recipe."""
    model, processor = (
        CLIPModel.from_pretrained(pick).eval(),
        CLIPImageProcessor.from_pretrained(pick),
    )
    tokenizer = CLIPTokenizer.from_pretrained(pick)
    image = picture(*size)
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=20, return_tensors="pt")
    with torch.no_grad():
        theirs = model(**tokens, **processor(images=image, return_tensors="pt")).logits_per_image[0]
    scorer = Scorer(ScorerSpec(str(pick)))
    pixels = (
        torch.tensor(list(image.tobytes()), dtype=torch.float32)
        .view(size[1], size[0], 3)
        .permute(2, 0, 1)
        / 255
    )
    ours = scorer.images(pixels[None]) @ scorer.texts(TEXTS).T
    assert torch.allclose(model.logit_scale.exp() * ours[0], theirs, atol=0.02)
    assert scorer.images(pixels[None]).norm() == pytest.approx(1, abs=1e-5)


def test_it_is_a_scorer_like_any_other(pick: Path) -> None:
    study = load_study("data/studies/small.toml")
    from dataclasses import replace

    spec = ScorerSpec(str(pick))
    check_scorer_folder(spec)
    check_scorer(spec)
    assert find_revisions(replace(study, models=(), scorer=spec)).scorer


def harmed(pick: Path, tmp_path: Path, name: str, **changes: object) -> Path:
    folder = Path(shutil.copytree(pick, tmp_path / "harmed"))
    values = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**values, **changes}))
    return folder


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("config.json", {"model_type": "siglip"}, "model_type = 'siglip'"),
        ("config.json", {"auto_map": {"AutoModel": "evil.py"}}, "auto_map"),
        ("config.json", {"projection_dim": 13}, "do not fit its configuration"),
        ("preprocessor_config.json", {"do_center_crop": False}, "not known here"),
        ("preprocessor_config.json", {"crop_size": {"height": 32, "width": 16}}, "not known here"),
        ("preprocessor_config.json", {"resample": 0}, "not known here"),
    ],
)
def test_what_is_not_a_clip_model_is_one_line(
    pick: Path, tmp_path: Path, file: str, changes: dict, said: str
) -> None:
    folder = harmed(pick, tmp_path, file, **changes)
    with pytest.raises(ModelError, match=said) as raised:
        check_scorer(ScorerSpec(str(folder)))
    assert "\n" not in str(raised.value)


def test_pickles_and_links_are_refused(pick: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pick, tmp_path / "pickled"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle, never loaded"):
        check_scorer(ScorerSpec(str(folder)))
    (folder / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError):
        check_scorer(ScorerSpec(str(folder)))


OPEN = {
    "SigLIP 2": ("ViT-B-16-SigLIP2", {"timm_model_name": "test_vit", "image_size": 160}, {"width": 16, "heads": 2, "layers": 1}),
    "PE": ("PE-Core-T-16-384", {}, {"width": 16, "heads": 2, "layers": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", OPEN)
def test_the_towers_of_newer_models_are_loaded_from_a_folder(name: str, tmp_path: Path) -> None:
    """Their configuration in open_clip, with fewer layers, random weights and the bundled tokenizer."""
    known, vision, text = OPEN[name]
    config = open_clip.get_model_config(known)
    bundled = Path("data/models/scenes-clip")
    folder = Path(
        shutil.copytree(bundled, tmp_path / "open", ignore=shutil.ignore_patterns("*.safetensors"))
    )
    bundled_config = json.loads((bundled / "open_clip_config.json").read_text())
    config["vision_cfg"] |= vision
    kept = ("vocab_size", "hf_tokenizer_name", "tokenizer_kwargs", "context_length")
    config["text_cfg"] |= text | {
        key: bundled_config["model_cfg"]["text_cfg"][key]
        for key in kept
        if key in bundled_config["model_cfg"]["text_cfg"]
    }
    config["embed_dim"] = 64 if name == "SigLIP 2" else config["embed_dim"]
    side = config["vision_cfg"]["image_size"]
    (folder / "open_clip_config.json").write_text(
        json.dumps(
            {
                "model_cfg": config,
                "preprocess_cfg": bundled_config["preprocess_cfg"] | {"size": side},
            }
        )
    )
    torch.manual_seed(0)
    parts = {k: v for k, v in config.items() if k != "custom_text"}
    model = open_clip.CustomTextCLIP(**parts)
    save_file(
        {k: v.clone().contiguous() for k, v in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    scorer = Scorer(ScorerSpec(str(folder)))
    images = scorer.images(torch.rand(2, 3, 48, 48))
    assert images.shape == scorer.texts(["a cat", "a dog"]).shape
    assert torch.allclose(images.norm(dim=-1), torch.ones(2), atol=1e-5)
