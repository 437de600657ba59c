"""Distances of two images by the weights that a study names: what they are, checked and opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.metrics.pixels import SAME, WINDOW, psnr, ssim
from pipeline.models.dino import Dino, check_dino
from pipeline.models.lpips import check_lpips, load_lpips
from pipeline.study.spec import DistanceSpec

NAMES = {"lpips": "LPIPS", "dino": "DINO", "ssim": "SSIM", "psnr": "PSNR"}
ONE_SIZE = {"lpips": True, "dino": False, "ssim": True, "psnr": True}
PIXELWISE = {"ssim": ssim, "psnr": psnr}
# Features of a pair at once: VGG16 holds 256 bytes a pixel of its first layer, for each of two images.
PIXELS = 2**21
MOST = 16  # pairs at once


@dataclass(frozen=True)
class Facts:
    """What is known of a distance without loading it.

    Attributes:
        network: what gives the features.
        preprocessing: how images are prepared.
        high: its largest value; None = no bound.
        least: px of the shorter side that an image needs.
        low: its smallest value.
        lower_is_closer: its direction.
    """

    network: str
    preprocessing: str
    high: float | None
    least: int
    low: float = 0.0
    lower_is_closer: bool = True


@dataclass(frozen=True)
class Distance:
    """A distance, ready to be computed.

    Attributes:
        facts: what it is.
        one_size: whether both images of a pair must have one size.
    """

    facts: Facts
    one_size: bool
    device: torch.device
    function: Callable[[Tensor, Tensor], Tensor]

    def between(
        self, first: Float[Tensor, "n 3 h w"], second: Float[Tensor, "n 3 a b"]
    ) -> list[float]:
        """The distance of each pair of images with values in [0, 1].

        Raises:
            ModelError: the images are too large for the memory or too small for the network, or it gives something that is no
                finite number.
        """
        size = max(1, min(MOST, PIXELS // max(first[0, 0].numel(), second[0, 0].numel())))
        values: list[float] = []
        for at in range(0, len(first), size):
            try:
                pair = (x[at : at + size].to(self.device) for x in (first, second))
                values += self.function(*pair).cpu().double().tolist()
            except RuntimeError as error:
                raise ModelError(
                    f"{self.facts.network} cannot compare images of {first.shape[-1]} x {first.shape[-2]} px on {self.device}: "
                    f"{' '.join(str(error).split())[:200]}. Use another --device."
                ) from None
        if not torch.tensor(values).isfinite().all():
            raise ModelError(
                f"{self.facts.network} gives values that are not finite. Convert or download its weights again."
            )
        return values


def check_distance(spec: DistanceSpec) -> Facts:
    """All that can be known of a distance without loading its weights.

    Raises:
        ModelError: the file or folder is not what the kind needs; names it, what is allowed and what to do.
    """
    if spec.kind == "ssim":
        return Facts(
            "SSIM (Gaussian window of 11 px)",
            "final image as stored, full size, RGB",
            1.0,
            WINDOW,
            -1.0,
            False,
        )
    if spec.kind == "psnr":
        return Facts(
            "PSNR (dB; equal images 100)",
            "final image as stored, full size, RGB",
            SAME,
            1,
            0.0,
            False,
        )
    path, title = Path(spec.weights or ""), _title(spec)
    if spec.kind == "lpips":
        if not path.is_file():
            raise ModelError(f"{title}: {path} is no file. Give a .safetensors file.")
        backbone = check_lpips(path, title)
        prepared = (
            f"final image as stored, full size, ImageNet mean and std; {backbone.name} features"
        )
        return Facts(f"LPIPS v0.1 ({backbone.name})", prepared, None, backbone.least)
    if not path.is_dir():
        raise ModelError(f"{title}: {path} is no folder. Give that of a DINOv2 or DINO model.")
    component, preparation = check_dino(path, title)
    network = component.kind.__name__.removesuffix("Model")
    return Facts(f"DINO ({network})", f"CLS embedding of the final image; {preparation}", 2.0, 1)


def open_distance(spec: DistanceSpec, device: torch.device | str = "cpu") -> Distance:
    """The distance, loaded.

    Raises:
        ModelError: as `check_distance`.
    """
    facts, path, title = check_distance(spec), Path(spec.weights or ""), _title(spec)
    function: Callable[[Tensor, Tensor], Tensor]
    if spec.kind in PIXELWISE:
        function = PIXELWISE[spec.kind]
    else:
        function = load_lpips(path, title, device) if spec.kind == "lpips" else Dino(path, title, device)  # fmt: skip
    return Distance(facts, ONE_SIZE[spec.kind], torch.device(device), function)


def _title(spec: DistanceSpec) -> str:
    return f"distance {spec.name}"
