from pathlib import Path

import pytest
import torch

from pipeline.bench.tools import (
    Result,
    bench_attention,
    bench_cam,
    bench_option,
    bench_rise,
    bench_switch,
    independent_masks,
    load,
    plain_rise,
    table,
)
from pipeline.explain.rise import rise

pytestmark = pytest.mark.long

MODELS = Path("data/models")


@pytest.fixture(scope="module")
def setting():
    return load(MODELS, "scenes-unet", 2)


def test_the_plain_loop_gives_the_same_map():
    latents = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    options = independent_masks(12)
    predict = lambda x: x.roll(1, -1)
    target = predict(latents[None])[0]
    loop = plain_rise(predict, latents, target, options)
    assert torch.allclose(loop, rise(predict, latents, options), atol=1e-4)


def test_the_benchmarks_compare_equal_maps(setting):
    (result,) = bench_cam(setting)
    difference = float(result.what.rsplit(" ", 1)[1].rstrip(")"))
    assert difference <= 1e-4


def test_the_cost_of_a_map_is_compared_with_one_mask_a_call(setting):
    first, inside, bound = bench_rise(setting, 6)
    assert first.ratio.endswith("x")
    assert 0 < float(inside.ratio.rstrip("%")) <= 100
    assert bound.passed is None


def test_ratios_are_ratios(setting):
    (result,) = bench_attention(setting, 1)
    assert result.ratio.endswith("x")
    assert 0.2 < float(result.ratio[:-1]) < 10


def test_a_speed_option_is_measured_on_the_same_image(setting):
    (result,) = bench_option(setting, MODELS, "channels_last", 1)
    assert result.passed and result.ratio.endswith("x")


def test_compiling_without_a_compiler_is_skipped_with_the_reason(setting, monkeypatch):
    monkeypatch.setenv("PATH", "")
    (result,) = bench_option(setting, MODELS, "compile", 1)
    assert result.ratio == "skipped: no C++ compiler (g++ or clang++)"


def test_the_table_says_what_is_not_met():
    rows = [Result("a", "b", "1 s", "2 s", "2x", "3x", passed) for passed in (True, False)]
    text = table(rows)
    assert "| met |" in text
    assert "**not met**" in text


def test_a_switch_is_compared_with_a_plain_run(setting):
    (result,) = bench_switch(setting, 1)
    assert result.ratio.endswith("x") and result.wanted.startswith("at most 5.5x")
