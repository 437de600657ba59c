"""DINO distances: what transformers gives on its own, preparation of images, and folders that are not DINO's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BitImageProcessor, Dinov2Model, ViTModel

from pipeline.errors import ModelError
from pipeline.models.dino import Dino, check_dino
from pipeline.models.distances import check_distance, open_distance
from pipeline.study.spec import DistanceSpec
from tests.support.distances import PREPARES, SIDE, write_dino

TITLE = "distance dino"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dino(tmp_path_factory.mktemp("dino"))


def smooth(seed: int, height: int = 40, width: int = 56) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def tensor(*pictures: Image.Image) -> torch.Tensor:
    return (
        torch.from_numpy(np.stack([np.asarray(each) for each in pictures])).permute(0, 3, 1, 2)
        / 255
    )


@pytest.mark.parametrize(("kind", "model"), [("dinov2", Dinov2Model), ("vit", ViTModel)])
def test_it_is_1_minus_the_cosine_of_what_transformers_gives(kind: str, model: type, tmp_path: Path) -> None:  # fmt: skip
    folder = write_dino(tmp_path / kind, kind)
    pictures = [smooth(seed) for seed in range(4)]
    prepare = BitImageProcessor(
        **{k: v for k, v in PREPARES.items() if k != "image_processor_type"}
    )
    theirs = model.from_pretrained(folder).eval()
    with torch.no_grad():
        pixels = prepare(pictures, return_tensors="pt").pixel_values
        vectors = theirs(pixels).last_hidden_state[:, 0].double().numpy()
    a, b = vectors[:2], vectors[2:]
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    ours = Dino(folder, TITLE)(tensor(*pictures[:2]), tensor(*pictures[2:]))
    assert pixels.shape[-1] == SIDE
    assert ours.tolist() == pytest.approx(1 - (a * b).sum(1) / norms, abs=0.02)
    assert (ours > 0.1).all(), "images that differ by more than the two preparations do"


def test_equal_images_are_exactly_0_apart_and_both_directions_agree(folder: Path) -> None:
    opened = open_distance(DistanceSpec("dino", str(folder), "a", "dino"))
    pictures = tensor(smooth(0), smooth(1))
    assert opened.between(pictures, pictures.clone()) == [0.0, 0.0]
    there, back = (
        opened.between(pictures, pictures.flip(0)),
        opened.between(pictures.flip(0), pictures),
    )
    assert there == pytest.approx(back, rel=1e-5) and there == pytest.approx(there[::-1], rel=1e-5)
    assert there[0] > 0.1


def test_images_of_two_sizes_are_compared(folder: Path) -> None:
    opened = open_distance(DistanceSpec("dino", str(folder), "a", "dino"))
    large = tensor(smooth(0, 160, 224))
    near, far = (opened.between(large, tensor(smooth(seed)))[0] for seed in (0, 1))
    assert near < far / 3 and not opened.one_size


def test_the_preparation_is_named(folder: Path, tmp_path: Path) -> None:
    facts = check_distance(DistanceSpec("dino", str(folder), "a", "dino"))
    assert facts.network == "DINO (Dinov2)" and facts.high == 2
    assert (
        "short side 32 px (bicubic), middle 28 px, mean (0.485, 0.456, 0.406)"
        in facts.preprocessing
    )
    squashed = {"do_center_crop": False, "crop_size": None, "size": SIDE, "resample": 2}
    _, how = check_dino(write_dino(tmp_path / "vit", "vit", **squashed), TITLE)
    assert str(how).startswith("both sides 28 px (bilinear), mean")


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("config.json", {"model_type": "clip"}, "model_type = 'clip'. Allowed: dinov2, dinov2_with_registers, vit"),
        ("config.json", {"auto_map": {"AutoModel": "evil.py"}}, "auto_map"),
        ("config.json", {"hidden_size": 32}, "do not fit its configuration"),
        ("config.json", {"num_hidden_layers": 10**6}, "over the limit|is not from 0 to"),
        ("preprocessor_config.json", {"crop_size": {"height": 30, "width": 30}}, "do not divide"),
        ("preprocessor_config.json", {"crop_size": {"height": 56, "width": 56}}, "not known here"),
        ("preprocessor_config.json", {"resample": 0}, "not known here"),
        ("preprocessor_config.json", {"image_std": [1, 0, 1]}, "not known here"),
        ("preprocessor_config.json", {"trust_remote_code": True}, "trust_remote_code"),
    ],
)  # fmt: skip
def test_a_folder_that_is_not_dinos_is_one_line(
    folder: Path, tmp_path: Path, file: str, changes: dict, said: str
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    values = json.loads((other / file).read_text())
    (other / file).write_text(json.dumps({**values, **changes}))
    with pytest.raises(ModelError, match=said) as raised:
        check_distance(DistanceSpec("dino", str(other), "a", "dino"))
    assert "\n" not in str(raised.value) and str(raised.value).startswith(TITLE)


def test_pickles_and_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    weights = other / "model.safetensors"
    weights.rename(other / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle, never loaded"):
        check_dino(other, TITLE)
    weights.symlink_to(folder / "model.safetensors")
    with pytest.raises(ModelError, match="link out of the model's folder"):
        check_dino(other, TITLE)
