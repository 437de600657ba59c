"""Pairs of prompts from the grammar of the scenes: a caption, and the same caption with one thing changed."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.demo.prompts import COLUMNS, SEED, prompt_row
from pipeline.demo.scenes import (
    COLOURS,
    OBJECTS,
    RELATIONS,
    SIZES,
    TEXTURES,
    Scene,
    caption,
    is_held_out_colour,
    is_held_out_relation,
    sample_scene,
)

CAPTION = re.compile(
    r"an? (?:(?P<size>{sizes}) (?P<alone>{objects})|(?P<first>{objects}) (?P<relation>{relations}) an? (?P<second>{objects}))"
    r" on a (?P<texture>{textures}) (?P<colour>{colours}) background".format(
        sizes="|".join(SIZES),
        objects="|".join(OBJECTS),
        relations="|".join(RELATIONS),
        textures="|".join(TEXTURES),
        colours="|".join(COLOURS),
    )
)
PAIRS = 64  # prompts of the shipped file


def scene_of(text: str) -> Scene | None:
    """The scene that a caption describes; None where a text is no caption of the grammar."""
    match = CAPTION.fullmatch(text)
    if match is None:
        return None
    objects = (match["alone"],) if match["alone"] else (match["first"], match["second"])
    if len(set(objects)) < len(objects):
        return None
    return Scene(objects, match["size"], match["relation"], match["colour"], match["texture"])


def with_other(scene: Scene, family: str, rng: np.random.Generator) -> Scene:
    """The scene with another object (of two, the second), colour, texture or relation; of pairs that models were trained on.

    Raises:
        ValueError: it has no relation, or nothing of the family could be changed.
    """
    changes: Mapping[str, Callable[[], Sequence[Scene]]] = {
        "object": lambda: [
            replace(scene, objects=(*scene.objects[:-1], name))
            for name in OBJECTS
            if name not in scene.objects
        ],
        "colour": lambda: [replace(scene, colour=c) for c in COLOURS if c != scene.colour],
        "texture": lambda: [replace(scene, texture=t) for t in TEXTURES if t != scene.texture],
        "relation": lambda: [
            replace(scene, relation=r) for r in RELATIONS if scene.relation not in (None, r)
        ],
    }
    known = [other for other in changes[family]() if is_trained(other)]
    if not known:
        raise ValueError(f"{caption(scene)!r}: no other {family}")
    return known[int(rng.integers(len(known)))]


def is_trained(scene: Scene) -> bool:
    """Whether none of the scene's pairs is held out of training."""
    if any(is_held_out_colour(name, scene.colour) for name in scene.objects):
        return False
    if scene.relation is None:
        return True
    return not is_held_out_relation(scene.objects[0], scene.relation, scene.objects[1])


FAMILIES = ("object", "colour", "texture", "relation")


def write_pairs(path: Path, count: int = PAIRS, seed: int = SEED) -> None:
    """Writes a prompt file of two objects a row, with a base for each of FAMILIES; each texture and relation equally often."""
    rng = np.random.default_rng(seed)
    scenes: dict[str, Scene] = {}
    while len(scenes) < count:
        scene = sample_scene(rng, ("two objects",))
        scene = replace(
            scene,
            texture=TEXTURES[len(scenes) % len(TEXTURES)],
            relation=RELATIONS[len(scenes) // len(TEXTURES) % len(RELATIONS)],
        )
        if is_trained(scene):
            scenes.setdefault(caption(scene), scene)
    with path.open("w", newline="") as file:
        bases = [f"base_{family}" for family in FAMILIES]
        writer = csv.DictWriter(file, (*COLUMNS, *bases), lineterminator="\n")
        writer.writeheader()
        for scene in scenes.values():
            others = {f"base_{f}": caption(with_other(scene, f, rng)) for f in FAMILIES}
            writer.writerow(prompt_row(scene) | others)
