"""Writes the demo's prompt sets and concept bank from the grammar of the scenes."""

import csv
import json
from pathlib import Path

import numpy as np

from pipeline.demo.phrases import BANK_FAMILIES, CONCEPTS
from pipeline.demo.scenes import (
    CATEGORIES,
    OBJECTS,
    SIZES,
    TEXTURES,
    Scene,
    caption,
    category,
    sample_scene,
    words,
)

COLUMNS = ("text", "category", "subject", "relation", "object", "attribute")
SEED = 2402


def sample_prompts(count: int, seed: int = SEED) -> list[Scene]:
    """Distinct scenes, the same number of each category, textures and sizes in turn.

    Args:
        count: a multiple of the number of categories.
        seed: decides the scenes.
    """
    rng = np.random.default_rng(seed)
    chosen: dict[str, Scene] = {}
    for name in CATEGORIES:
        uses = dict.fromkeys(OBJECTS, 0)
        for index in range(count // len(CATEGORIES)):
            scene = _least_used(_fresh_scenes(rng, name, index, chosen), uses)
            for used in scene.objects:
                uses[used] += 1
            chosen[caption(scene)] = scene
    return list(chosen.values())


def _fresh_scenes(
    rng: np.random.Generator, name: str, index: int, chosen: dict[str, Scene], count: int = 8
) -> list[Scene]:
    """Candidates for a place in the list: the texture and the size of its turn, not yet chosen."""
    texture = TEXTURES[index % len(TEXTURES)]
    size = tuple(SIZES)[index // len(TEXTURES) % len(SIZES)]
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = sample_scene(rng, (name,))
        fits = scene.texture == texture and scene.size in (None, size)
        if fits and caption(scene) not in chosen:
            scenes.append(scene)
    return scenes


def _least_used(scenes: list[Scene], uses: dict[str, int]) -> Scene:
    return min(scenes, key=lambda scene: sum(uses[name] for name in scene.objects))


def prompt_row(scene: Scene) -> dict[str, str]:
    """The row of a prompt file: the caption, its category, and its words by role."""
    by_role: dict[str, list[str]] = {}
    for word, role in words(scene):
        by_role.setdefault(role, []).append(word)
    return {
        "text": caption(scene),
        "category": category(scene),
        "subject": scene.objects[0],
        "relation": scene.relation or "",
        "object": scene.objects[1] if len(scene.objects) > 1 else "",
        "attribute": ";".join(by_role["attribute"]),
    }


def in_turn(scenes: list[Scene]) -> list[Scene]:
    """One scene of each category after the other, so that the first few are a fair part of the whole."""
    by_category = [[scene for scene in scenes if category(scene) == name] for name in CATEGORIES]
    return [scene for scenes_ in zip(*by_category, strict=True) for scene in scenes_]


def write_prompts(path: Path, count: int, *, mixed: bool = False) -> None:
    """Writes a prompt file of `count` rows: category after category, or `mixed`, one of each in turn."""
    scenes = sample_prompts(count)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(prompt_row(scene) for scene in (in_turn(scenes) if mixed else scenes))


def write_concepts(path: Path) -> None:
    """Writes the concept bank as TOML, with phrasings that scenes-clip was trained on."""
    lines = [
        'name = "scenes"',
        'description = "What the emoji scenes can show: objects, colours, textures, sizes, '
        'layouts and counts"',
    ]
    for concept in CONCEPTS:
        if concept.family in BANK_FAMILIES:
            lines += [
                "",
                "[[concept]]",
                f"name = {json.dumps(concept.name)}",
                f"family = {json.dumps(concept.family)}",
                f"phrasings = {json.dumps(list(concept.phrasings))}",
            ]
    path.write_text("\n".join(lines) + "\n")
