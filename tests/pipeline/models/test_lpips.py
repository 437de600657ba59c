"""LPIPS: the definition against numpy, torchvision's layouts, and files that are not LPIPS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from pipeline.errors import ModelError
from pipeline.models.distances import check_distance, open_distance
from pipeline.models.lpips import (
    BACKBONES,
    MEAN,
    STD,
    Lpips,
    check_lpips,
    head_name,
    load_lpips,
)
from pipeline.study.spec import DistanceSpec
from tests.support.distances import lpips_tensors, write_lpips

TITLE = "distance lpips"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lpips(tmp_path_factory.mktemp("lpips") / "alex.safetensors")


def images(seed: int, n: int = 2, side: int = 35) -> torch.Tensor:
    return torch.rand(n, 3, side, side + 3, generator=torch.Generator().manual_seed(seed))


def convolved(x: np.ndarray, layer: nn.Conv2d) -> np.ndarray:
    """A convolution without padding and its ReLU, written out."""
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    size = weight.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return np.maximum(np.einsum("chwij,ocij->ohw", windows, weight) + bias[:, None, None], 0)


def by_numpy(x: np.ndarray, y: np.ndarray, layers: list[nn.Conv2d], heads: list[np.ndarray]) -> float:  # fmt: skip
    """Equation 1 of the paper, after the scaling layer of its program: images in [-1, 1], shift and scale."""
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x, y = (((2 * each - 1) - shift[:, None, None]) / scale[:, None, None] for each in (x, y))
    total = 0.0
    for layer, head in zip(layers, heads, strict=True):
        x, y = convolved(x, layer), convolved(y, layer)
        scaled = [each / (np.sqrt((each**2).sum(0)) + 1e-10) for each in (x, y)]
        total += float(((scaled[0] - scaled[1]) ** 2 * head[:, None, None]).sum(0).mean())
    return total


def test_a_planted_network_gives_what_numpy_gives() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 2)]
    heads = [torch.rand(4), torch.rand(5)]
    distance = Lpips([nn.Sequential(layer, nn.ReLU()) for layer in layers], heads)
    first, second = images(1, side=9), images(2, side=9)
    expected = [
        by_numpy(x.double().numpy(), y.double().numpy(), layers, [head.numpy() for head in heads])
        for x, y in zip(first, second, strict=True)
    ]
    assert distance(first, second).tolist() == pytest.approx(expected, rel=1e-4)


def test_the_scaling_layer_is_that_of_the_published_program() -> None:
    assert [2 * m - 1 for m in MEAN] == pytest.approx([-0.030, -0.088, -0.188])
    assert [2 * s for s in STD] == pytest.approx([0.458, 0.448, 0.450])


@pytest.mark.parametrize("number", [0, 1])
def test_features_are_those_after_torchvisions_relus(number: int, tmp_path: Path) -> None:
    """Its own network with the same weights, layer by layer, up to each ReLU that the paper takes."""
    backbone, tensors = BACKBONES[number], lpips_tensors(backbone=number)
    save_file(tensors, tmp_path / "w.safetensors")
    assert check_lpips(tmp_path / "w.safetensors", TITLE) == backbone
    distance = load_lpips(tmp_path / "w.safetensors", TITLE)
    with torch.device("meta"):
        network = getattr(models, backbone.function)(weights=None).features
    features = {
        name.removeprefix("features."): t for name, t in tensors.items() if name.startswith("f")
    }
    network.load_state_dict(features, assign=True)
    convolutions = [i for i, layer in enumerate(network) if isinstance(layer, nn.Conv2d)]
    pools = [i for i, layer in enumerate(network) if isinstance(layer, nn.MaxPool2d)]
    last = convolutions if number == 0 else [pool - 2 for pool in pools]  # of each block
    assert backbone.taps == tuple(at + 1 for at in last)
    x = (images(3, 1) - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    y = x.clone()
    for at, stage in enumerate(distance.stages):
        x, y = stage(x), network[backbone.taps[at - 1] + 1 if at else 0 : backbone.taps[at] + 1](y)
        assert torch.equal(x, y) and (x >= 0).all()


def test_equal_images_are_exactly_0_apart_and_both_directions_agree(file: Path) -> None:
    distance = load_lpips(file, TITLE)
    first, second = images(1, 3), images(2, 3)
    assert distance(first, first.clone()).tolist() == [0.0] * 3
    there, back = distance(first, second), distance(second, first)
    assert torch.equal(there, back) and (there > 0).all()


def test_the_smallest_image_that_is_allowed_has_every_feature(file: Path) -> None:
    opened = open_distance(DistanceSpec("lpips", str(file), "a", "lpips"))
    least = opened.facts.least
    pair = torch.rand(2, 1, 3, least, least, generator=torch.Generator().manual_seed(0))
    assert opened.between(*pair)[0] > 0
    with pytest.raises(
        ModelError, match=f"cannot compare images of {least - 1} x {least} px on cpu"
    ):
        opened.between(*(each[..., : least - 1] for each in pair))


def harmed(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    tensors = lpips_tensors() | changes
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


HEAD = head_name(2)
NEGATIVE = torch.zeros(1, 384, 1, 1).index_fill(1, torch.tensor([7]), -0.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({HEAD: NEGATIVE}, "lin2.model.1.weight of type torch.float32 with lowest value -0.5. Allowed: finite"),
        ({HEAD: NEGATIVE / 0}, "lowest value nan"),
        ({HEAD: torch.zeros(1, 384, 1, 1).int()}, "type torch.int32"),
        ({HEAD: None}, "1 missing"),
        ({HEAD: torch.zeros(1, 3, 1, 1)}, "1 of another shape"),
        ({"net.slice1.0.weight": torch.zeros(1)}, "1 unexpected"),
        ({"features.0.weight": torch.zeros(3, 3)}, "(64, 3, 11, 11) (AlexNet), (64, 3, 3, 3) (VGG16)"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_lpips_is_one_line(changes: dict, said: str, tmp_path: Path) -> None:
    save_file(harmed(**changes), tmp_path / "other.safetensors")
    with pytest.raises(ModelError) as raised:
        check_distance(DistanceSpec("lpips", str(tmp_path / "other.safetensors"), "a", "lpips"))
    assert said in str(raised.value) and "\n" not in str(raised.value)
    assert str(raised.value).startswith(TITLE)


def test_pickles_and_cut_files_are_refused_unread(file: Path, tmp_path: Path) -> None:
    (tmp_path / "alex.pth").write_bytes(b"never opened")
    with pytest.raises(ModelError, match=r"no .safetensors file.*bring-your-own"):
        check_lpips(tmp_path / "alex.pth", TITLE)
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:-9])
    with pytest.raises(ModelError, match="truncated"):
        check_lpips(tmp_path / "cut.safetensors", TITLE)


def test_the_classes_of_a_whole_network_may_be_in_the_file(tmp_path: Path) -> None:
    save_file(harmed(**{"classifier.6.bias": torch.zeros(1000)}), tmp_path / "whole.safetensors")
    facts = check_distance(DistanceSpec("lpips", str(tmp_path / "whole.safetensors"), "a", "lpips"))
    assert facts.network == "LPIPS v0.1 (AlexNet)" and "ImageNet mean" in facts.preprocessing


def test_weights_that_give_no_number_are_one_line(tmp_path: Path) -> None:
    save_file(
        harmed(**{"features.0.bias": torch.full((64,), torch.inf)}), tmp_path / "w.safetensors"
    )
    opened = open_distance(DistanceSpec("lpips", str(tmp_path / "w.safetensors"), "a", "lpips"))
    with pytest.raises(ModelError, match="not finite"):
        opened.between(images(1), images(2))
