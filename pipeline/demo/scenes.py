"""Emoji scenes with known captions and known object masks: what the demo models are trained on.

A scene holds one object that is small or big, or two objects in a spatial relation, on a background
with a colour and a texture. Only what the caption names decides the picture, apart from a few
pixels of jitter in place and size. Some pairs are held out of all training; see `is_held_out`.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

SPRITES = Path(__file__).resolve().parents[2] / "data" / "sprites"
IMAGE_SIZE = 64

OBJECTS = (
    *("dog", "cat", "apple", "banana", "car", "umbrella", "mushroom", "sunflower"),
    *("rocket", "fish", "elephant", "pizza", "house", "cactus", "frog", "penguin"),
    *("key", "heart", "crown", "turtle", "carrot", "tree", "train", "guitar"),
)
COLOURS = {
    "red": (190, 60, 60),
    "orange": (228, 140, 50),
    "yellow": (235, 212, 85),
    "green": (85, 165, 85),
    "blue": (80, 120, 215),
    "purple": (130, 80, 175),
    "pink": (242, 155, 195),
    "gray": (145, 145, 145),
}
TEXTURES = ("plain", "striped", "dotted", "checkered")
TEXTURE_SHARES = (0.4, 0.2, 0.2, 0.2)
SIZES = {"small": (20, 26), "big": (40, 49)}
PAIR_SIZE = (25, 29)
RELATIONS = ("left of", "right of", "above", "below")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
PLACES = ("left", "right", "above", "below")
CATEGORIES = ("one object", "two objects", "held-out colour", "held-out relation")
ROLES = ("subject", "relation", "object", "attribute", "other")

_TILE = 8
_SHADE = 0.7
_JITTER = {"small": 12, "big": 5}


@dataclass(frozen=True)
class Scene:
    """What a caption says: one object with a size, or two with a relation, on a background."""

    objects: tuple[str, ...]
    size: str | None
    relation: str | None
    colour: str
    texture: str

    def __post_init__(self) -> None:
        if (len(self.objects), self.size is None, self.relation is None) not in (
            (1, False, True),
            (2, True, False),
        ):
            raise ValueError(
                f"A scene has one object and a size, or two objects and a relation; "
                f"found {self.objects}, size {self.size}, relation {self.relation}."
            )


def caption(scene: Scene) -> str:
    """The scene in words, e.g. `a cat left of a rocket on a striped green background`."""
    return " ".join(word for word, _ in words(scene))


def words(scene: Scene) -> list[tuple[str, str]]:
    """The caption's words, each with its role: subject, relation, object, attribute or other."""
    subject = scene.objects[0]
    if scene.size is not None:
        tagged = [("a", "other"), (scene.size, "attribute"), (subject, "subject")]
    else:
        other, relation = scene.objects[1], scene.relation or ""
        tagged = [(_article(subject), "other"), (subject, "subject")]
        tagged += [(word, "relation") for word in relation.split()]
        tagged += [(_article(other), "other"), (other, "object")]
    tagged += [("on", "other"), ("a", "other"), (scene.texture, "attribute")]
    return [*tagged, (scene.colour, "attribute"), ("background", "other")]


def with_article(noun: str) -> str:
    """`an apple`, `a dog`."""
    return f"{_article(noun)} {noun}"


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def place_name(scene: Scene, index: int) -> str | None:
    """Where an object of a pair is: left, right, above or below; None if it is alone."""
    if scene.relation is None:
        return None
    relation = scene.relation if index == 0 else OPPOSITE[scene.relation]
    return relation.removesuffix(" of")


def is_held_out_colour(name: str, colour: str) -> bool:
    """Whether the pair (object, background colour) is never trained on: one colour per object."""
    return (5 * OBJECTS.index(name) + 2) % len(COLOURS) == list(COLOURS).index(colour)


def is_held_out_relation(subject: str, relation: str, other: str) -> bool:
    """Whether (object, relation, object) is never trained on; about one in eleven.

    Says the same of a scene and of its mirror wording: `a dog below a cat` is `a cat above a dog`.
    """
    if relation in ("right of", "below"):
        subject, relation, other = other, OPPOSITE[relation], subject
    first, second = OBJECTS.index(subject), OBJECTS.index(other)
    return (3 * first + 5 * second + 7 * RELATIONS.index(relation)) % 11 == 0


def is_held_out(scene: Scene) -> bool:
    """Whether any pair of the scene is held out of training."""
    return category(scene).startswith("held-out")


def category(scene: Scene) -> str:
    """The scene's prompt category; a held-out colour goes before a held-out relation."""
    if any(is_held_out_colour(name, scene.colour) for name in scene.objects):
        return "held-out colour"
    if scene.relation is None:
        return "one object"
    held_out = is_held_out_relation(scene.objects[0], scene.relation, scene.objects[1])
    return "held-out relation" if held_out else "two objects"


def sample_scene(rng: np.random.Generator, categories: tuple[str, ...] = CATEGORIES[:2]) -> Scene:
    """A random scene of the given categories, by default of those that are trained on.

    Categories are drawn with equal chance, then scenes until one belongs to the category drawn.
    """
    wanted = categories[rng.integers(len(categories))]
    while True:
        pair = {"one object": False, "held-out colour": bool(rng.integers(2))}.get(wanted, True)
        scene = _any_scene(rng, pair)
        if category(scene) == wanted:
            return scene


def _any_scene(rng: np.random.Generator, pair: bool) -> Scene:
    names = rng.choice(len(OBJECTS), size=2 if pair else 1, replace=False)
    return Scene(
        objects=tuple(OBJECTS[index] for index in names),
        size=None if pair else tuple(SIZES)[rng.integers(len(SIZES))],
        relation=RELATIONS[rng.integers(len(RELATIONS))] if pair else None,
        colour=tuple(COLOURS)[rng.integers(len(COLOURS))],
        texture=TEXTURES[rng.choice(len(TEXTURES), p=TEXTURE_SHARES)],
    )


def compose(
    scene: Scene, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "object h w"]]:
    """The scene's picture, and the pixels that each of its objects covers (alpha over one half)."""
    image = background(scene.colour, scene.texture).astype(np.float32)
    masks = np.zeros((len(scene.objects), IMAGE_SIZE, IMAGE_SIZE), dtype=bool)
    for index, name in enumerate(scene.objects):
        size = int(rng.integers(*_size_range(scene), endpoint=True))
        top, left = _corner(scene, index, size, rng)
        colour, alpha = sprite(name, size)
        area = (slice(top, top + size), slice(left, left + size))
        image[area] = colour * alpha + image[area] * (1 - alpha)
        masks[index][area] = alpha[..., 0] > 0.5
    return np.rint(image).astype(np.uint8), masks


@lru_cache(maxsize=len(COLOURS) * len(TEXTURES))
def background(colour: str, texture: str) -> UInt8[np.ndarray, "h w 3"]:
    """A colour, darkened by 30 % where the texture has its stripes, dots or squares."""
    rows, columns = np.indices((IMAGE_SIZE, IMAGE_SIZE)) % (2 * _TILE)
    half = _TILE / 2
    y, x = rows % _TILE, columns % _TILE
    dark = {
        "plain": np.zeros_like(rows, dtype=bool),
        "striped": y < half,
        "dotted": (y - half + 0.5) ** 2 + (x - half + 0.5) ** 2 < 5,
        "checkered": (rows < _TILE) ^ (columns < _TILE),
    }[texture]
    shades = np.array(COLOURS[colour]) * np.where(dark, _SHADE, 1.0)[..., None]
    return np.rint(shades).astype(np.uint8)


@lru_cache(maxsize=2048)
def sprite(
    name: str, size: int
) -> tuple[Float[np.ndarray, "size size 3"], Float[np.ndarray, "size size 1"]]:
    """An object's colours (0..255) and opacity (0..1) at a size in pixels."""
    with Image.open(SPRITES / f"{name}.png") as file:
        resized = file.convert("RGBa").resize((size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(resized.convert("RGBA"), dtype=np.float32)
    return pixels[..., :3], pixels[..., 3:] / 255


def _size_range(scene: Scene) -> tuple[int, int]:
    return PAIR_SIZE if scene.size is None else SIZES[scene.size]


def _corner(scene: Scene, index: int, size: int, rng: np.random.Generator) -> tuple[int, int]:
    """The top and left pixel of an object: near the middle, or near the middle of its half."""
    middle, quarter = IMAGE_SIZE // 2, IMAGE_SIZE // 4
    if scene.size is not None:
        reach = min(_JITTER[scene.size], middle - (size + 1) // 2 - 1)
        y, x = middle + rng.integers(-reach, reach, size=2, endpoint=True)
    else:
        along = quarter + rng.integers(-1, 1, endpoint=True)
        across = middle + rng.integers(-4, 4, endpoint=True)
        where = place_name(scene, index)
        if where in ("right", "below"):
            along = IMAGE_SIZE - along
        y, x = (across, along) if where in ("left", "right") else (along, across)
    return int(y) - size // 2, int(x) - size // 2
