"""The scenes: captions, masks, held-out pairs, determinism; the files generated from them."""

import csv
import tomllib
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.demo.corpus import compose_corpus
from pipeline.demo.phrases import CONCEPTS, mirrored, relation_phrases, true_names
from pipeline.demo.prompts import (
    COLUMNS,
    prompt_row,
    sample_prompts,
    write_concepts,
    write_prompts,
)
from pipeline.demo.scenes import (
    CATEGORIES,
    COLOURS,
    IMAGE_SIZE,
    OBJECTS,
    OPPOSITE,
    RELATIONS,
    ROLES,
    SPRITES,
    TEXTURES,
    Scene,
    background,
    caption,
    category,
    compose,
    is_held_out,
    is_held_out_colour,
    is_held_out_relation,
    place_name,
    sample_scene,
    sprite,
    words,
)
from pipeline.demo.tokenizer import known_words

ROOT = Path(__file__).resolve().parents[3]
CAT_LEFT_OF_ROCKET = Scene(("cat", "rocket"), None, "left of", "green", "striped")
SMALL_CAT = Scene(("cat",), "small", None, "red", "plain")

seeds = st.integers(0, 2**32 - 1)
categories = st.sampled_from(CATEGORIES)


def draw(seed: int, name: str) -> Scene:
    return sample_scene(np.random.default_rng(seed), (name,))


def test_caption_says_what_the_scene_holds():
    assert caption(SMALL_CAT) == "a small cat on a plain red background"
    assert caption(CAT_LEFT_OF_ROCKET) == "a cat left of a rocket on a striped green background"


def test_caption_uses_an_before_a_vowel():
    scene = Scene(("apple", "elephant"), None, "above", "blue", "dotted")
    assert caption(scene) == "an apple above an elephant on a dotted blue background"


def test_words_carry_their_roles():
    tagged = words(CAT_LEFT_OF_ROCKET)
    by_role = {role: [word for word, given_role in tagged if given_role == role] for role in ROLES}
    assert by_role["subject"] == ["cat"]
    assert by_role["relation"] == ["left", "of"]
    assert by_role["object"] == ["rocket"]
    assert by_role["attribute"] == ["striped", "green"]


@pytest.mark.parametrize(
    ("objects", "size", "relation"),
    [
        (("cat",), None, None),
        (("cat",), "small", "above"),
        (("cat", "dog"), "small", "above"),
        (("cat", "dog"), None, None),
        ((), None, None),
    ],
)
def test_a_scene_that_is_neither_single_nor_pair_is_refused(objects, size, relation):
    with pytest.raises(ValueError, match="one object and a size, or two objects"):
        Scene(objects, size, relation, "red", "plain")


@given(seeds, categories)
def test_same_seed_same_picture(seed, name):
    scene = draw(seed, name)
    assert scene == draw(seed, name)
    first, second = (compose(scene, np.random.default_rng(seed)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


@given(seeds, categories)
def test_masks_cover_the_objects_and_nothing_else(seed, name):
    scene = draw(seed, name)
    image, masks = compose(scene, np.random.default_rng(seed))
    plain = background(scene.colour, scene.texture)
    assert masks.shape == (len(scene.objects), IMAGE_SIZE, IMAGE_SIZE)
    assert masks.any((1, 2)).all()
    assert masks.sum(0).max() == 1
    changed = (image != plain).any(2)
    assert changed[masks.any(0)].mean() > 0.9
    near = np.pad(masks.any(0), 2)
    grown = np.max(
        [near[y : y + IMAGE_SIZE, x : x + IMAGE_SIZE] for y, x in product(range(5), range(5))], 0
    )
    assert changed[~grown].sum() < 0.2 * masks.sum()  # thin parts are less than half opaque


@given(seeds)
def test_relation_holds_between_the_masks(seed):
    scene = draw(seed, "two objects")
    _, masks = compose(scene, np.random.default_rng(seed))
    (y0, x0), (y1, x1) = (np.argwhere(mask).mean(0) for mask in masks)
    holds = {"left of": x0 < x1, "right of": x0 > x1, "above": y0 < y1, "below": y0 > y1}
    assert holds[scene.relation]


@given(seeds, st.sampled_from(("small", "big")))
def test_size_decides_how_much_is_covered(seed, size):
    scene = Scene(("apple",), size, None, "green", "plain")
    _, masks = compose(scene, np.random.default_rng(seed))
    width = np.ptp(np.flatnonzero(masks[0].any(0))) + 1
    assert (18 <= width <= 26) if size == "small" else (38 <= width <= 49)


@given(seeds, categories)
def test_a_sampled_scene_is_of_its_category(seed, name):
    scene = draw(seed, name)
    assert category(scene) == name
    assert is_held_out(scene) == name.startswith("held-out")


def test_training_pictures_hold_no_held_out_pair():
    scenes = compose_corpus(400, seed=3).scenes
    assert not any(is_held_out(scene) for scene in scenes)
    assert {len(scene.objects) for scene in scenes} == {1, 2}


def test_every_object_has_one_held_out_colour():
    for name in OBJECTS:
        assert sum(is_held_out_colour(name, colour) for colour in COLOURS) == 1


def test_held_out_relations_are_few_and_ignore_the_wording():
    pairs = [(a, b) for a, b in product(OBJECTS, OBJECTS) if a != b]
    held = [(a, r, b) for (a, b), r in product(pairs, RELATIONS) if is_held_out_relation(a, r, b)]
    assert 0.05 < len(held) / (len(pairs) * len(RELATIONS)) < 0.15
    assert all(is_held_out_relation(b, OPPOSITE[r], a) for a, r, b in held)


def test_objects_of_a_pair_are_in_opposite_places():
    assert [place_name(CAT_LEFT_OF_ROCKET, index) for index in (0, 1)] == ["left", "right"]
    assert place_name(SMALL_CAT, 0) is None


def test_mirrored_wording_means_the_same_picture():
    rng = np.random.default_rng
    mirror = mirrored(CAT_LEFT_OF_ROCKET)
    assert caption(mirror) == "a rocket right of a cat on a striped green background"
    assert {"cat left", "rocket right"} == true_names(mirror, "place")
    first, second = compose(CAT_LEFT_OF_ROCKET, rng(0))[1], compose(mirror, rng(0))[1]
    assert np.argwhere(first[0]).mean(0)[1] < IMAGE_SIZE / 2 < np.argwhere(second[0]).mean(0)[1]


def test_relation_phrases_follow_the_order_of_relations():
    assert relation_phrases(CAT_LEFT_OF_ROCKET) == [
        f"a cat {relation} a rocket" for relation in RELATIONS
    ]


def test_textures_are_two_shades_and_differ():
    pictures = [background("blue", texture) for texture in TEXTURES]
    shades = [len(np.unique(picture.reshape(-1, 3), axis=0)) for picture in pictures]
    assert shades == [1, 2, 2, 2]
    assert len({picture.tobytes() for picture in pictures}) == len(TEXTURES)


@pytest.mark.parametrize("name", OBJECTS)
def test_every_sprite_is_there_and_partly_transparent(name):
    colour, alpha = sprite(name, 32)
    assert colour.shape == (32, 32, 3)
    assert 0.15 < (alpha > 0.5).mean() < 0.95


def test_sprites_come_with_their_licence():
    text = (SPRITES / "LICENSE.txt").read_text()
    assert "MIT" in text
    assert "Copyright (c) Microsoft Corporation" in text


def test_prompts_are_distinct_and_balanced():
    scenes = sample_prompts(64)
    assert len({caption(scene) for scene in scenes}) == 64
    counts = {name: sum(category(scene) == name for scene in scenes) for name in CATEGORIES}
    assert counts == dict.fromkeys(CATEGORIES, 16)
    assert {scene.texture for scene in scenes} == set(TEXTURES)
    assert {name for scene in scenes for name in scene.objects} == set(OBJECTS)


def test_prompt_row_joins_attributes_with_a_semicolon():
    assert prompt_row(SMALL_CAT)["attribute"] == "small;plain;red"
    row = prompt_row(CAT_LEFT_OF_ROCKET)
    assert (row["subject"], row["relation"], row["object"]) == ("cat", "left of", "rocket")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("prompts/scenes.csv", lambda path: write_prompts(path, 64)),
        pytest.param(
            "prompts/scenes-mixed.csv",
            lambda path: write_prompts(path, 1000, mixed=True),
            marks=pytest.mark.thorough,  # ten seconds of random numbers
        ),
        ("concepts/scenes.toml", write_concepts),
    ],
)
def test_bundled_prompts_and_concepts_are_what_the_grammar_writes(tmp_path, name, write):
    write(tmp_path / "written")
    assert (tmp_path / "written").read_text() == (ROOT / "data" / name).read_text()


def test_the_first_mixed_prompts_are_of_every_category():
    with (ROOT / "data" / "prompts" / "scenes-mixed.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["category"] for row in rows] == list(CATEGORIES) * 250


def test_bundled_prompt_files_have_their_columns():
    for name, count in (("scenes.csv", 64), ("scenes-large.csv", 2000), ("scenes-mixed.csv", 1000)):
        with (ROOT / "data" / "prompts" / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == COLUMNS
        assert len({row["text"] for row in rows}) == count


def test_concept_bank_uses_only_words_the_models_know():
    bank = tomllib.loads((ROOT / "data" / "concepts" / "scenes.toml").read_text())
    known = set(known_words())
    assert len(bank["concept"]) == sum(concept.family != "place" for concept in CONCEPTS)
    for concept in bank["concept"]:
        assert {word for phrase in concept["phrasings"] for word in phrase.split()} <= known
