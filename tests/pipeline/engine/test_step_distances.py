"""Distances of every step to a reference entry: what a variant of a model costs in fidelity, on a bundled model."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

import stepscope
from pipeline.cli.main import main
from pipeline.results.folder import Results
from pipeline.results.record import load_plan
from pipeline.results.scores import ScoreFiles
from pipeline.results.shards import parse_shard
from pipeline.results.verify import verify

pytestmark = pytest.mark.long

STEPS, FEW = 6, 3
STUDY = f"""
name = "variants"
seeds = [0, 1]
[prompts]
path = "data/prompts/scenes.csv"
limit = 2
[scorer]
source = "data/models/scenes-clip"
[concepts]
path = "data/concepts/scenes.toml"
[measures.frames]
size = 48
[[model]]
name = "base"
source = "data/models/scenes-unet"
steps = {STEPS}
[[model]]
name = "same"
source = "data/models/scenes-unet"
steps = {STEPS}
[[model]]
name = "half"
source = "data/models/scenes-unet"
steps = {STEPS}
dtype = "bfloat16"
[[model]]
name = "few"
source = "data/models/scenes-unet"
steps = {FEW}
[[distance]]
kind = "ssim"
reference = "base"
steps = true
[[distance]]
kind = "psnr"
name = "x0-psnr"
reference = "base"
steps = true
[[distance]]
kind = "psnr"
reference = "base"
"""


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published study of one model and three variants of it."""
    folder = tmp_path_factory.mktemp("variants")
    (folder / "variants.toml").write_text(STUDY)
    assert main(["run", str(folder / "variants.toml"), "--out", str(folder / "results"), "--device", "cpu"]) == 0  # fmt: skip
    return folder / "results"


def stored(folder: Path, name: str) -> dict[tuple[str, str, int, int | None], float]:
    files = ScoreFiles(Results(folder))
    metric = next(each for each in files.metrics() if each.name == name)
    rows = files.table(metric).to_pylist()
    return {(r["model"], r["prompt_key"], r["seed"], r["step"]): r["value"] for r in rows}


def shown(folder: Path) -> dict[tuple[str, str, int], dict[int, tuple[np.ndarray, float]]]:
    """The frames and log-SNR of every sample, read from the shards by hand."""
    out = {}
    results = Results(folder)
    for work_unit in load_plan(results):
        rows = parse_shard(results.store.read(work_unit.unit_id), work_unit.unit_id, ("prompt_key", "frames", "steps"))  # fmt: skip
        for row in rows.to_pylist():
            levels = {each["step"]: each["log_snr"] for each in row["steps"]}
            out[work_unit.model.name, row["prompt_key"], work_unit.seed] = {
                f["step"]: (np.asarray(Image.open(io.BytesIO(f["image"])).convert("RGB")) / 255, levels[f["step"]])
                for f in row["frames"]
            }  # fmt: skip
    return out


def test_a_copy_is_equal_at_every_step_and_half_precision_nearly(variants: Path) -> None:
    alike, ratio = stored(variants, "ssim"), stored(variants, "x0-psnr")
    assert len(alike) == 2 * 2 * (2 * STEPS + FEW) and alike.keys() == ratio.keys()
    assert {v for key, v in alike.items() if key[0] == "same"} == {1.0}
    assert {v for key, v in ratio.items() if key[0] == "same"} == {100.0}
    half = [v for key, v in ratio.items() if key[0] == "half"]
    few = [v for key, v in ratio.items() if key[0] == "few"]
    assert 20 < np.mean(half) < 100 and np.mean(few) < np.mean(half)


def test_every_value_is_that_of_the_two_frames_at_the_nearest_noise_level(variants: Path) -> None:
    frames = shown(variants)
    alike, ratio = stored(variants, "ssim"), stored(variants, "x0-psnr")
    for (model, key, seed, step), value in alike.items():
        image, level = frames[model, key, seed][step]
        reference = frames["base", key, seed]
        nearest = min(reference, key=lambda other: abs(reference[other][1] - level))
        assert nearest == step or model == "few"
        theirs = structural_similarity(
            image, reference[nearest][0], channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False,
        )  # fmt: skip
        assert value == pytest.approx(theirs, abs=1e-5)
        if model != "same":
            expected = peak_signal_noise_ratio(reference[nearest][0], image, data_range=1)
            assert ratio[model, key, seed, step] == pytest.approx(min(expected, 100), abs=1e-3)


def test_they_are_scores_per_step_with_their_direction(variants: Path) -> None:
    with stepscope.open(variants) as opened:
        rows = opened.sql("SELECT name, title, lower_is_better, low, high, source, level, unused FROM metric ORDER BY name")  # fmt: skip
        final = opened.sql(
            "SELECT m.name, s.value, step_values[-1] AS last FROM score AS s JOIN metric USING (metric_id) "
            "JOIN model AS m USING (model_id) WHERE metric.name = 'ssim'"
        )
    assert rows["name"].tolist() == ["psnr", "ssim", "x0-psnr"]
    assert rows["level"].tolist() == ["image", "step", "step"]
    assert not rows["lower_is_better"].any() and rows["unused"].tolist() == [0, 0, 0]
    assert rows["source"].tolist()[1] == "SSIM (Gaussian window of 11 px) to base"
    assert (final["value"] == final["last"]).all(), "a score per step counts with its last step"
    assert verify(variants) == []


def test_a_second_run_compares_nothing(variants: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in (variants / "scores").iterdir()}
    study = variants.parent / "variants.toml"
    assert main(["run", str(study), "--out", str(variants), "--device", "cpu"]) == 0
    assert "ssim: 60 frames compared with those of 'base'" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (variants / "scores").iterdir()} == before


def test_the_plan_counts_frames(variants: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(variants.parent / "variants.toml"), "--plan", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "ssim: 60 pairs of frames with 'base', about" in out
    assert "psnr: 12 pairs of images with 'base', about" in out
