import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline import models
from pipeline.demo.scenes import Scene
from pipeline.demo.trust import (
    TrustOptions,
    bootstrap,
    encode,
    enlarge,
    known_scenes,
    localisation_table,
    randomisation_table,
    run_trust,
    scene_prompt,
    targets,
    write_trust,
)
from pipeline.localisation import localise
from pipeline.study import ModelSpec

SMALL = TrustOptions(scenes=2, steps=3, at=(1,), masks=4, random_scenes=1, random_at=(1,), batch=2)


@pytest.fixture(scope="module")
def rows(request):
    from pathlib import Path

    return run_trust(Path("data/models"), ("scenes-unet",), SMALL)


def test_every_method_is_judged_on_every_scene(rows):
    found = {(r["method"], r["scene"]) for r in rows[0] if r["word"] == ""}
    methods = ("df-rise", "df-cam", "lime", "random", "attention", "relevance")
    assert found == {(method, scene) for method in methods for scene in (0, 1)}
    for row in rows[0]:
        assert 0 < row["mask_share"] < 1
        assert 0 <= row["average_precision"] <= 1


def test_words_are_judged_on_their_own_object(rows):
    named = {r["word"] for r in rows[0] if r["method"] == "attention"} - {""}
    scenes = known_scenes(2)
    assert named == {name for one in scenes for name in one.scene.objects}


def test_the_random_map_is_the_only_one_that_no_weights_change(rows):
    for row in rows[1]:
        if row["method"] == "random":
            assert row["spearman"] == pytest.approx(1)
    attention = [r["spearman"] for r in rows[1] if r["method"] == "attention"]
    assert min(attention) < 0.9
    assert rows[1][-1]["share"] == pytest.approx(1)


def test_the_files_are_what_publish_reads(rows, tmp_path):
    write_trust(tmp_path, *rows)
    for name, expected in zip(("localisation", "randomisation"), rows, strict=True):
        table = pq.read_table(tmp_path / "extra" / f"{name}.parquet")
        assert table.num_rows == len(expected)
        assert "model" in table.column_names
    assert sorted(p.name for p in (tmp_path / "extra").iterdir()) == [
        "localisation.parquet",
        "randomisation.parquet",
    ]


def test_the_tables_have_a_line_for_each_method(rows):
    text = localisation_table(rows[0])
    assert text.count("\n") == 1 + 8  # attention and relevance have a second line, for words
    assert "over chance" in text
    assert randomisation_table(rows[1]).count("| scenes-unet |") == 6


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
    pipeline = models.open_pipeline(spec, torch.device("cpu"))
    images = torch.stack([one.image for one in known_scenes(2)])
    again = models.decode(pipeline, encode(pipeline, images))
    assert float(((images / 2 + 0.5) - again).square().mean()) < 0.005


def test_a_map_is_enlarged_where_it_is():
    small = np.zeros((4, 4), dtype=np.float32)
    small[1, 2] = 1
    mask = np.zeros((16, 16), dtype=bool)
    mask[4:8, 8:12] = True
    assert localise(enlarge(small, (16, 16)), mask).pointing == 1


def test_intervals_are_the_same_every_time():
    values = np.random.default_rng(1).random(20)
    assert bootstrap(values) == bootstrap(values)
    low, high = bootstrap(values)
    assert low < values.mean() < high
