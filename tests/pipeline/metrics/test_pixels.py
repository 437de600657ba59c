"""PSNR and SSIM against scikit-image, and where they are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from pipeline.metrics.pixels import SAME, psnr, ssim


def pictures(seed: int, side: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.rand(3, 3, 5, 5, generator=generator)
    return torch.nn.functional.interpolate(smooth, (side, side + 6), mode="bilinear")


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.3])
def test_both_are_those_of_scikit_image(noise: float) -> None:
    first = pictures(0)
    second = (first + noise * torch.randn(first.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)  # fmt: skip
    mine_ssim, mine_psnr = ssim(first, second), psnr(first, second)
    for x, y, alike, ratio in zip(first, second, mine_ssim, mine_psnr, strict=True):
        a, b = (each.permute(1, 2, 0).double().numpy() for each in (x, y))
        theirs = structural_similarity(
            a, b, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )  # fmt: skip
        assert float(alike) == pytest.approx(theirs, abs=1e-6)
        if noise:
            assert float(ratio) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), abs=1e-4)  # fmt: skip
        else:
            assert float(ratio) == SAME and float(alike) == 1


def test_known_values() -> None:
    black, white = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    assert float(psnr(black, white)) == 0
    assert float(ssim(black, white)) == pytest.approx(1e-4 / (1 + 1e-4), rel=1e-4)
    one_level = black.clone()
    one_level += 1 / 255
    assert float(psnr(black, one_level)) == pytest.approx(20 * np.log10(255), abs=1e-4)
    assert float(ssim(white - pictures(3)[:1, :, :16, :16], pictures(3)[:1, :, :16, :16])) < 0
