from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats

from pipeline.demo.known import encode, known_scenes, scene_prompt, show_noised, targets
from pipeline.demo.scenes import Scene
from pipeline.demo.trust import (
    QUICK,
    TrustOptions,
    copy_map,
    enlarge,
    write_trust,
)
from pipeline.demo.trust_parts import run_parts
from pipeline.demo.trust_tables import (
    area_table,
    depends,
    layer_table,
    localisation_table,
    paired_table,
    randomisation_table,
    similarity,
    t_interval,
)
from pipeline.metrics.localisation import localise
from pipeline.models import loading
from pipeline.models.scorer import Scorer
from pipeline.study.spec import ModelSpec, ScorerSpec

pytestmark = pytest.mark.long

SMALL = TrustOptions(
    scenes=3, steps=3, at=(1,), masks=4, random_scenes=2, random_at=(1,), stages=2, batch=2
)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trust") / "parts"
    return run_parts(Path("data/models"), ("scenes-unet",), SMALL, folder)


METHODS = {"df-rise", "df-cam", "lime", "random", "area", "copy"}
WORDED = {"attention", "relevance", "information", "concept-attention"}
METHODS |= WORDED


def test_every_method_is_judged_on_every_scene(rows):
    measured = {(r["method"], r["scene"]) for r in rows.localisation if r["word"] == ""}
    assert measured == {(method, scene) for method in METHODS for scene in (0, 1, 2)}
    for row in rows.localisation:
        assert 0 < row["mask_share"] < 1
        assert 0 <= row["average_precision"] <= 1


def test_words_are_judged_on_their_own_object(rows):
    named = {r["word"] for r in rows.localisation if r["method"] == "attention"} - {""}
    scenes = known_scenes(3)
    assert named == {name for one in scenes for name in one.scene.objects}
    informed = {r["word"] for r in rows.localisation if r["method"] == "information"} - {""}
    assert informed == named


def test_layers_are_judged_alone_by_both_readings_of_attention(rows):
    alone = [r for r in rows.localisation if r["layer"] != "all"]
    assert {r["method"] for r in alone} == {"attention", "concept-attention"}
    assert all(r["word"] for r in alone)
    of_attention = {
        (r["layer"], r["scene"], r["word"]) for r in alone if r["method"] == "attention"
    }
    assert of_attention == {
        (r["layer"], r["scene"], r["word"]) for r in alone if r["method"] != "attention"
    }
    assert len({layer for layer, _, _ in of_attention}) >= 3


def test_words_alone_have_the_rows_that_they_have_among_all(rows, tmp_path):
    """`demo trust --words`: the same maps, and no tool of the whole image."""
    few = replace(SMALL, scenes=2, words=True, random_scenes=0, random_at=())
    alone = run_parts(Path("data/models"), ("scenes-unet",), few, tmp_path / "parts")
    assert not alone.randomisation and not alone.area
    assert {row["method"] for row in alone.localisation} == WORDED
    among = [row for row in rows.localisation if row["scene"] < 2 and row["method"] in WORDED]
    assert sorted(alone.localisation, key=str) == sorted(among, key=str)


def test_methods_are_compared_by_scene():
    def row(method, scene, precision):
        keys = {"model": "m", "step": 1, "layer": "all", "word": "dog", "mask_share": 0.1}
        return keys | {"method": method, "scene": scene, "average_precision": precision}

    gains = (0.1, 0.2, 0.3)
    known = [row("one", s, 0.5 + gain) for s, gain in enumerate(gains)]
    known += [row("other", s, 0.5) for s in range(3)]
    mean, low, high = t_interval(np.array(gains))
    wanted = f"| m | 0.70 | 0.50 | {mean:+.2f} [{low:+.2f}, {high:+.2f}] | 3 |"
    assert wanted in paired_table(known, "one", "other")
    only = {**row("one", 0, 0.6), "layer": "mid"}
    assert "| m | one | mid | +0.50 [-inf, +inf] |" in layer_table([only, *known])


def test_every_map_of_the_randomised_model_is_a_row(rows):
    stages = {row["layers"] for row in rows.randomisation}
    assert len(stages) == 2
    for method in METHODS:
        for layers in stages:
            of_layers = [
                r for r in rows.randomisation if (r["method"], r["layers"]) == (method, layers)
            ]
            assert len(of_layers) == 2  # scenes
            assert all(r["samples"] == (r["spearman"] is not None) for r in of_layers)
    assert rows.randomisation[-1]["share"] == pytest.approx(1)


def test_maps_of_the_input_alone_are_changed_by_no_weights(rows):
    for row in rows.randomisation:
        if row["method"] in ("random", "area"):
            assert row["spearman"] == pytest.approx(1)
    copies = {r["layers"]: [] for r in rows.randomisation}
    for row in rows.randomisation:
        if row["method"] == "copy":
            copies[row["layers"]].append(row["spearman"])
    first, *others = copies.values()
    assert all(other == pytest.approx(first) for other in others)
    attention = [r["spearman"] for r in rows.randomisation if r["method"] == "attention"]
    assert min(attention) < 0.9


def test_by_default_there_are_20_scenes_and_20_randomised_maps():
    options = TrustOptions()
    assert min(options.scenes, options.random_scenes) >= 20
    assert set(options.at) == {10, 18, 26}
    assert min(QUICK.scenes, QUICK.random_scenes) >= 6


def test_the_files_are_what_publish_reads(rows, tmp_path):
    write_trust(tmp_path, rows)
    for name in ("localisation", "randomisation"):
        table = pq.read_table(tmp_path / "extra" / f"{name}.parquet")
        assert table.num_rows == len(getattr(rows, name))
        assert "model" in table.column_names
    assert sorted(p.name for p in (tmp_path / "extra").iterdir()) == [
        "localisation.parquet",
        "randomisation.parquet",
    ]


def test_the_tables_have_a_line_for_each_method(rows):
    text = localisation_table(rows.localisation)
    of_words = 4  # the methods with a second line, for words
    assert text.count("\n") == 1 + len(METHODS) + of_words
    assert "over chance" in text
    assert randomisation_table(rows.randomisation).count("| scenes-unet |") == len(METHODS)
    assert area_table(rows.area).count("| scenes-unet |") == 1


def test_the_copy_does_not_call_the_denoiser_and_another_draw_is_another_map():
    measured = {}

    def look(view):
        module, calls = view.denoiser.module, []
        hook = module.register_forward_pre_hook(lambda *_: calls.append(1))
        measured["maps"] = [copy_map(view, 0, 32, draw) for draw in (0, 0, 1)]
        measured["calls"] = len(calls)
        hook.remove()

    shown(look)
    first, again, other = measured["maps"]
    assert measured["calls"] == 0
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=1e-6)


def test_a_noised_scene_is_a_step_of_its_own():
    """x_t = alpha x0 + sigma eps of the scene; the next latents are a step's, not those of the run's own image."""
    measured = {}

    def look(view):
        measured["view"] = view

    shown(look)
    view = measured["view"]
    assert torch.allclose(view.denoiser.replay(), view.prediction, atol=1e-5)
    nearer = (view.next_latents - view.denoised).square().mean()
    assert float(nearer) < float((view.latents - view.denoised).square().mean())


def shown(see):
    from pathlib import Path

    folder = Path("data/models")
    spec = ModelSpec("m", "m", str(folder / "scenes-unet"), steps=3, guidance=4.0)
    pipeline = loading.open_pipeline(spec, torch.device("cpu"))
    scorer = Scorer(ScorerSpec(str(folder / "scenes-clip")))
    show_noised(pipeline, spec, scorer, known_scenes(1), 0, (1,), see)


def rows_of(method, values, layers="all layers", share=1.0):
    return [
        {"model": "m", "method": method, "step": 10, "layers": layers, "share": share, "spearman": v, "samples": 1}
        for v in values
    ]  # fmt: skip


def test_a_tool_depends_on_the_weights_when_its_interval_lies_below_the_copys():
    copies = rows_of("copy", [0.55, 0.6, 0.65, 0.6])
    floor = similarity(copies, "copy", "all layers")[1]
    changed = rows_of("df-rise", [0.1, 0.2, 0.15, 0.1])
    same = rows_of("lime", [0.55, 0.62, 0.6, 0.58])
    unsure = rows_of("df-cam", [0.0, 0.9, 0.1, 0.8])
    kept = rows_of("area", [1.0, 1.0, 1.0, 1.0])
    assert 0.5 < floor < 0.6
    text = randomisation_table(copies + changed + same + unsure + kept)
    verdicts = {
        line.split("|")[2].strip(): line.split("|")[-2].strip() for line in text.splitlines()
    }
    assert verdicts["df-rise"] == "yes"
    assert verdicts["df-cam"] == "not separable" and verdicts["copy"] == "no"
    assert verdicts["area"] == "no" and verdicts["lime"] in ("no", "not separable")
    assert depends((float("nan"),) * 3, floor) == "constant map"


def test_scenes_are_the_same_every_time_and_their_masks_are_theirs():
    first, second = known_scenes(3), known_scenes(3)
    for a, b in zip(first, second, strict=True):
        assert a.scene == b.scene
        assert torch.equal(a.image, b.image)
        assert np.array_equal(targets(a)[""], b.masks.any(0))


def test_a_scenes_prompt_has_roles():
    prompt = scene_prompt(Scene(("cat", "dog"), None, "left of", "red", "plain"), 5)
    assert prompt.text == "a cat left of a dog on a plain red background"
    assert prompt.roles["subject"] == ("cat",)
    assert prompt.roles["relation"] == ("left", "of")
    assert prompt.roles["object"] == ("dog",)


def test_encoded_scenes_decode_to_themselves():
    spec = ModelSpec("m", "m", "data/models/scenes-unet")
    pipeline = loading.open_pipeline(spec, torch.device("cpu"))
    images = torch.stack([one.image for one in known_scenes(2)])
    again = loading.decode(pipeline, encode(pipeline, images))
    assert float(((images / 2 + 0.5) - again).square().mean()) < 0.005


def test_a_map_is_enlarged_where_it_is():
    small = np.zeros((4, 4), dtype=np.float32)
    small[1, 2] = 1
    mask = np.zeros((16, 16), dtype=bool)
    mask[4:8, 8:12] = True
    assert localise(enlarge(small, (16, 16)), mask).pointing == 1


def test_intervals_are_those_of_the_t_distribution():
    values = np.random.default_rng(1).random(20)
    mean, low, high = t_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert mean == pytest.approx(values.mean())
    assert t_interval(values[:1])[1:] == (-np.inf, np.inf)
