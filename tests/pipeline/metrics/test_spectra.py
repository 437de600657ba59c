import math

import pytest
import torch

from pipeline.metrics.spectra import BAND_EDGES, band_power


def grating(frequency: float, size: int = 64) -> torch.Tensor:
    wave = 0.5 + 0.4 * torch.sin(2 * math.pi * frequency * torch.arange(size))
    return wave.expand(1, 3, size, size)


@pytest.mark.parametrize("band", range(len(BAND_EDGES) - 1))
def test_a_grating_falls_into_its_band(band):
    low, high = BAND_EDGES[band], min(BAND_EDGES[band + 1], 0.5)
    power = band_power(grating((low + high) / 2, size=128))[0]
    assert int(power.argmax()) == band


def test_white_noise_has_power_one_in_every_band():
    noise = torch.randn(16, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    power = 10 ** band_power(noise.expand(-1, 3, -1, -1))
    assert torch.allclose(power.mean(0)[1:], torch.ones(len(BAND_EDGES) - 2), atol=0.1)
    assert 0.6 < float(power.mean(0)[0]) < 1.1  # taking the mean out costs the lowest band a little


def test_a_flat_image_has_none_whatever_its_brightness():
    assert float(band_power(torch.full((1, 3, 32, 32), 0.7)).max()) <= -10


def test_contrast_shifts_every_band_alike():
    noise = torch.rand(2, 3, 48, 80, generator=torch.Generator().manual_seed(1))
    shift = band_power(noise * 0.1) - band_power(noise)
    assert torch.allclose(shift, torch.full_like(shift, -2), atol=1e-3)
