"""Inception-v3's features of images, from weights that the user has."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.models.files import read_shapes
from pipeline.models.weights import compare, refuse_differences, shapes_of

SIDE = 299
UNUSED = ("AuxLogits.", "fc.")  # what turns features into classes
COUNTED = ".num_batches_tracked"  # of the training; older files have none
TITLE = "measures.inception"
ADVICE = "Give torchvision's Inception-v3 as safetensors; docs/paper.md shows how to convert its .pth file."


class Inception:
    """Images to the 2,048 features before the classes: what a Frechet distance of images (FID) compares.

    torchvision's network with ImageNet weights. The FID of the literature uses a port of TensorFlow's weights, so values
    differ from it; at batch 1, and for a comparison of maps, the kind of distance is the same.

    Source: Szegedy et al. 2016 (arXiv 1512.00567); Heusel et al. 2017 (arXiv 1706.08500).

    Raises:
        ModelError: as `check_inception`.
    """

    def __init__(self, file: Path, device: torch.device | str = "cpu") -> None:
        check_inception(file)
        network = _network("cpu")
        stored = load_file(file)
        tensors = {name: tensor for name, tensor in stored.items() if not name.startswith(UNUSED)}
        network.load_state_dict(tensors)
        self._network = network.eval().requires_grad_(False).float().to(device)

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2048"]:
        """Features of images in [0, 1]."""
        fitted = F.interpolate(
            images.float(), (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True
        )
        return self._network(2 * fitted - 1)


def check_inception(file: Path) -> None:
    """That a file holds exactly the tensors of torchvision's Inception-v3, without loading it.

    Raises:
        ModelError: another kind of file, or tensors that are missing, unexpected or of another shape.
    """
    if file.suffix != ".safetensors":
        raise ModelError(f"{TITLE} = {str(file)!r} is no .safetensors file. {ADVICE}")
    expected, stored = (
        {n: s for n, s in shapes.items() if not n.startswith(UNUSED) and not n.endswith(COUNTED)}
        for shapes in (shapes_of(_network("meta")), read_shapes(file, TITLE))
    )
    refuse_differences(compare(expected, stored), f"{TITLE}: {file}")


def _network(device: str) -> nn.Module:
    # Its import takes seconds that most studies never need.
    from torchvision.models import inception_v3

    with torch.device(device):
        network = inception_v3(weights=None, aux_logits=False, init_weights=False)
    network.fc = nn.Identity()
    return network
