"""Insertion against localisation on known scenes: of maps whose answers are known, and of the bundled UNet."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.__main__ import main
from pipeline.demo.games import RANDOM, agreement_table, rank_correlation, scene_rows
from pipeline.demo.known import GUIDANCE, known_scenes, show_noised, targets
from pipeline.explain.maps import resize_map
from pipeline.models import loading
from pipeline.models.scorer import Scorer
from pipeline.study.spec import ModelSpec, ScorerSpec

pytestmark = pytest.mark.long

MODELS = Path("data/models")
STEP = 5


@pytest.fixture(scope="module")
def rows():
    """The mask of a scene's objects as one tool's map, its opposite as another's."""
    spec = ModelSpec("u", "u", str(MODELS / "scenes-unet"), steps=8, guidance=GUIDANCE)
    pipeline = loading.open_pipeline(spec, torch.device("cpu"))
    scorer = Scorer(ScorerSpec(str(MODELS / "scenes-clip")))
    known = known_scenes(2)
    lines = []

    def see(view):
        for item, scene in enumerate(known):
            objects = torch.from_numpy(targets(scene)[""].astype(np.float32))
            mask = resize_map(objects, tuple(view.latents.shape[-2:])).numpy()
            chance = np.random.default_rng(item).random(mask.shape, np.float32)
            maps = {("df-rise", ""): mask, ("df-cam", ""): 1 - mask, (RANDOM, ""): chance}
            keys = {"model": "u", "scene": item, "step": view.step}
            lines.extend(scene_rows(view, item, scene, maps, keys, ("zero", "re-noised")))

    show_noised(pipeline, spec, scorer, known, 0, (STEP,), see)
    return lines


def test_the_mask_itself_is_found_and_its_opposite_is_below_chance(rows):
    for row in rows:
        if row["method"] == "df-rise":
            assert row["over_chance"] > 0.5
        if row["method"] == "df-cam":
            assert row["over_chance"] < 0


def test_a_random_map_gains_nothing_and_the_mask_gains_more_than_its_opposite(rows):
    assert all(row["gain"] == 0 for row in rows if row["method"] == RANDOM)
    for baseline in ("zero", "re-noised"):
        gains = {
            method: np.mean([r["gain"] for r in rows if (r["method"], r["baseline"], r["score"]) == (method, baseline, "structure")])
            for method in ("df-rise", "df-cam")
        }  # fmt: skip
        assert np.isfinite(list(gains.values())).all()
        assert len(set(gains.values())) == 2, "the order of insertion matters"


def planted(sign):
    return [
        {"model": "m", "scene": scene, "step": 1, "method": method, "baseline": "zero", "score": "clip",
         "gain": sign * rank + 0.01 * scene, "over_chance": 0.1 * rank}
        for scene in range(3) for rank, method in enumerate(("df-rise", "df-cam", "lime", "relevance"))
    ]  # fmt: skip


@pytest.mark.parametrize("sign", [1, -1])
def test_a_planted_agreement_is_told_with_its_sign(sign):
    rows = planted(sign)
    assert rank_correlation([r for r in rows if r["scene"] == 0]) == pytest.approx(sign)
    assert f"| {sign:+.2f} |" in agreement_table(rows)


def test_two_tools_have_no_rank_correlation():
    assert rank_correlation(planted(1)[:2]) is None


def test_the_command_prints_both_tables(capsys):
    wanted = ["--scenes", "1", "--masks", "8", "--baseline", "zero", "--model", "scenes-unet"]
    assert main(["demo", "games", *wanted]) == 0
    assert re.search(
        r"\| scenes-unet +\| +10 +\| structure +\| zero +\| [+-]\d\.\d\d", capsys.readouterr().out
    )
