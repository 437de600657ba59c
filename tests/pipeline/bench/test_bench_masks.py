"""The benchmark of DF-RISE's masks: errors by hand, and a tiny run that resumes from its cache."""

import re
from pathlib import Path

import pytest
import torch

from pipeline.bench import masks as bench
from pipeline.bench.masks import Cache, Row, calls_needed, errors, main, mean_errors, table

pytestmark = pytest.mark.long

REFERENCE = {bench.REFERENCE: (0.2, 0.1)}


def test_errors_of_a_map():
    truth = torch.linspace(0, 1, 16).view(4, 4)
    assert errors(truth, truth) == pytest.approx((0, 0), abs=1e-7)
    assert errors(1 - truth, truth)[0] == pytest.approx(2)
    assert errors(torch.zeros(4, 4), truth)[0] == 1  # a constant map agrees with nothing
    assert errors(truth + 0.1, truth)[1] == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize(
    ("by_calls", "needed"),
    [
        ({32: (0.3, 0.05), 64: (0.2, 0.1), 100: (0.1, 0.05)}, 64),
        ({32: (0.1, 0.2), 64: (0.1, 0.2)}, None),
        ({32: (0.1, 0.05), 64: (0.3, 0.05), 100: (0.1, 0.05)}, 100),
    ],
)
def test_calls_are_enough_where_both_errors_are_and_stay_small(by_calls, needed):
    assert calls_needed(by_calls, REFERENCE[bench.REFERENCE]) == needed


def test_the_table_has_the_means_over_cases_and_the_calls_that_are_needed():
    rows = [
        Row("independent, mean", bench.REFERENCE, 0.1, 0.1),
        Row("independent, mean", bench.REFERENCE, 0.3, 0.1),
        Row("ours", 32, 0.1, 0.05),
    ]
    means = mean_errors(rows)
    assert means["independent, mean"][bench.REFERENCE] == pytest.approx((0.2, 0.1))
    text = table(means)
    assert "| ours | 0.100 / 0.050 |  | 32 |" in text


def test_a_cached_tensor_is_not_made_again(tmp_path):
    cache, maps = Cache(tmp_path), []

    def make():
        maps.append(1)
        return torch.arange(3.0)

    for _ in range(2):
        assert torch.equal(cache.get("model/scene/x", make), torch.arange(3.0))
    assert len(maps) == 1
    assert [path.name for path in (tmp_path / "model" / "scene").iterdir()] == ["x.safetensors"]


@pytest.fixture
def options(tmp_path, monkeypatch):
    """Of a tiny run: two blocks of four truth masks."""
    for name, size in (("BLOCK", 4), ("REFERENCE", 6), ("WANTED", 4)):
        monkeypatch.setattr(bench, name, size)
    sizes = ["--model", "scenes-dit", "--steps", "10", "--truth", "8", "--counts", "4"]
    return [*sizes, "--models", str(Path("data/models")), "--cache", str(tmp_path)]


def test_a_tiny_run_prints_its_sizes_and_resumes(options, monkeypatch, capsys):
    printed = []
    for _ in range(2):
        main(options)
        printed.append(capsys.readouterr().out)
        monkeypatch.setattr(bench.Case, "scores", None)  # the second run must not need it
        monkeypatch.setattr(bench.Case, "paper_map", None)
    assert printed[0] == printed[1]
    assert "truth of 8 independent masks, 1 set(s) of masks per design" in printed[0]
    for what in ("independent, mean", "shifted-hadamard, effects", "paper's protocol"):
        assert f"| {what} |" in printed[0]


def test_the_truth_in_bfloat16_says_what_that_changes(options, tmp_path, capsys):
    main([*options, "--bfloat16"])
    said = re.search(r"bfloat16, which changes a mask's score by ([0-9.]+)% of", capsys.readouterr().out)  # fmt: skip
    assert said and 0 < float(said[1]) < 5
    main(options)
    assert "bfloat16" not in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "scenes-dit" / "scene-0" / "step-10").iterdir()}
    assert {"truth-0.safetensors", "truth-bfloat16-0.safetensors", "truth-1.safetensors"} <= names
