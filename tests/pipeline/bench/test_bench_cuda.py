"""The GPU benchmark's procedure, on the CPU with small parts; its figures need a GPU."""

import pytest
import torch

from pipeline.bench import cuda, scale
from pipeline.bench.cuda import SD15, Size

pytestmark = pytest.mark.long

SMALL = Size(unet=(32, 32), text=16, layers=1, vae=(32, 32), tiny=(8, 8), side=32)


def test_both_decoders_are_told_against_the_plain_pipeline(monkeypatch):
    known = cuda.open_clip.get_model_config("ViT-B-32")
    vision = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
    text = known["text_cfg"] | {"width": 16, "heads": 2, "layers": 1}
    small = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    monkeypatch.setattr(cuda.open_clip, "get_model_config", lambda _name: small)
    tiny, full = cuda.bench_cuda(1, "cpu", SMALL, steps=2, batch=2)
    assert tiny.wanted == "at most 1.15x" and tiny.passed is not None
    assert full.passed is None and "full autoencoder" in full.what
    assert float(tiny.ratio[:-1]) > 0 and float(full.ratio[:-1]) > 0


def test_the_unet_has_the_size_of_stable_diffusion():
    with torch.device("meta"):
        pipeline = cuda._pipeline(SD15)
    assert sum(p.numel() for p in pipeline.unet.parameters()) == 859_520_964  # SD 1.5's own count


def test_without_a_gpu_the_benchmark_says_that_it_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert scale.main(["--only", "cuda"]) == 0
    assert "cuda left out: no CUDA GPU" in capsys.readouterr().err
