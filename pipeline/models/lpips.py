"""LPIPS: a learned perceptual distance of two images, from weights that the user has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.metrics.perceptual import layer_distance
from pipeline.models.files import Shape, read_shapes
from pipeline.models.guard import one_line
from pipeline.models.weights import compare, refuse_differences, shapes_of

# Of ImageNet, for values in [0, 1]. The scaling layer of the published program has 2 mean - 1 and 2 std, for values in [-1, 1]:
# shift -.030, -.088, -.188 and scale .458, .448, .450.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FEATURES, CLASSES = "features.", "classifier."
ADVICE = "docs/bring-your-own.md shows how to convert the published weights."


@dataclass(frozen=True)
class Backbone:
    """A network of torchvision whose features are compared.

    Attributes:
        name: as people write it.
        function: of torchvision.models.
        taps: the places of the ReLUs whose outputs are compared, in `features`.
        kernel: the shape of the first convolution's weights, which tells the networks apart.
        least: px of the shorter side from which every tap has an output.
    """

    name: str
    function: str
    taps: tuple[int, ...]
    kernel: Shape
    least: int


BACKBONES = (
    Backbone("AlexNet", "alexnet", (1, 4, 7, 9, 11), (64, 3, 11, 11), 31),
    Backbone("VGG16", "vgg16", (3, 8, 15, 22, 29), (64, 3, 3, 3), 16),
)


class Lpips(nn.Module):
    """Pairs of images to their distance, 0 for equal images; symmetric; lower is closer.

    Source: Zhang et al. 2018 (arXiv 1801.03924), equation 1, version 0.1.
    """

    def __init__(self, stages: Sequence[nn.Module], heads: Sequence[Float[Tensor, " c"]]) -> None:
        """Takes the network's parts between taps, in order, and the weights of the channels of each tap."""
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.heads = nn.ParameterList(nn.Parameter(head, requires_grad=False) for head in heads)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        self.eval().requires_grad_(False).float()

    @torch.no_grad()
    def forward(
        self, first: Float[Tensor, "n 3 h w"], second: Float[Tensor, "n 3 h w"]
    ) -> Float[Tensor, " n"]:
        """The distance of each pair of images with values in [0, 1].

        Both go through the network in batches of one size, so that equal images have equal features to the bit.
        """
        mean: Any = self.mean
        pair = [(images - mean) / self.std for images in (first, second)]
        total = torch.zeros(len(first), device=mean.device)
        for stage, head in zip(self.stages, self.heads, strict=True):
            pair = [stage(features) for features in pair]
            total = total + layer_distance(pair[0], pair[1], head)
        return total


def check_lpips(file: Path, title: str) -> Backbone:
    """That a file holds exactly the tensors of LPIPS on one of `BACKBONES`, without loading the network.

    Returns: the network.

    Raises:
        ModelError: another kind of file; tensors that are missing, unexpected or of another shape; heads that are negative or not
            finite.
    """
    if file.suffix != ".safetensors":
        raise ModelError(f"{title}: {file} is no .safetensors file. {ADVICE}")
    stored = {n: s for n, s in read_shapes(file, title).items() if not n.startswith(CLASSES)}
    kernel = stored.get(f"{FEATURES}0.weight")
    backbone = next((each for each in BACKBONES if each.kernel == kernel), None)
    if backbone is None:
        allowed = ", ".join(f"{each.kernel} ({each.name})" for each in BACKBONES)
        raise ModelError(
            f"{title}: {file} has {FEATURES}0.weight of shape {kernel}. Allowed: {allowed}. {ADVICE}"
        )
    refuse_differences(compare(_expected(backbone), stored), f"{title}: {file}")
    _read_heads(file, backbone, title)
    return backbone


def load_lpips(file: Path, title: str, device: torch.device | str = "cpu") -> Lpips:
    """LPIPS of a checked file.

    Raises:
        ModelError: as `check_lpips`.
    """
    backbone = check_lpips(file, title)
    network, heads = _features(backbone), _read_heads(file, backbone, title)
    with one_line(f"{title}: {file} could not be loaded", ADVICE), safe_open(file, "pt") as tensors:
        names = [name for name in tensors.keys() if name.startswith(FEATURES)]  # noqa: SIM118
        weights = {name.removeprefix(FEATURES): tensors.get_tensor(name).float() for name in names}
    network.load_state_dict(weights, assign=True)
    starts = (0, *(tap + 1 for tap in backbone.taps))
    stages = [network[a : b + 1] for a, b in zip(starts, backbone.taps, strict=False)]
    return Lpips(stages, heads).to(device)


def head_name(layer: int) -> str:
    """The tensor with the weights of a layer's channels, as the published checkpoints name it."""
    return f"lin{layer}.model.1.weight"


def _features(backbone: Backbone) -> nn.Sequential:
    """The network up to the last tap, without memory."""
    # Its import takes seconds that most studies never need.
    from torchvision import models

    with torch.device("meta"):
        network: nn.Sequential = getattr(models, backbone.function)(weights=None).features
    return network[: backbone.taps[-1] + 1]


def _expected(backbone: Backbone) -> Mapping[str, Shape]:
    features = _features(backbone)
    expected = {f"{FEATURES}{name}": shape for name, shape in shapes_of(features).items()}
    channels: list[Any] = [features[tap - 1].out_channels for tap in backbone.taps]
    return expected | {head_name(n): (1, int(c), 1, 1) for n, c in enumerate(channels)}


def _read_heads(file: Path, backbone: Backbone, title: str) -> list[Float[Tensor, " c"]]:
    """The weights of the channels of each tap. Raises ModelError where one is negative or no number."""
    with one_line(f"{title}: {file} cannot be read", ADVICE), safe_open(file, "pt") as tensors:
        heads = [tensors.get_tensor(head_name(n)).flatten() for n in range(len(backbone.taps))]
    for number, head in enumerate(heads):
        lowest = float(head.min()) if head.isfinite().all() else float("nan")
        if not head.is_floating_point() or not lowest >= 0:
            raise ModelError(
                f"{title}: {file} has {head_name(number)} of type {head.dtype} with lowest value {lowest:g}. Allowed: finite numbers from "
                f"0, without which it is no distance. {ADVICE}"
            )
    return [head.float() for head in heads]
