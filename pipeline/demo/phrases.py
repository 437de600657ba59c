"""Short phrases about a scene, such as `a dog` or `a striped background`, and when they are true.

The phrases teach scenes-clip the concepts by name, and are the phrasings of the concept bank.
"""

from dataclasses import dataclass

from pipeline.demo.scenes import (
    COLOURS,
    OBJECTS,
    OPPOSITE,
    PLACES,
    RELATIONS,
    SIZES,
    TEXTURES,
    Scene,
    place_name,
    with_article,
)


@dataclass(frozen=True)
class Concept:
    """Something a scene can show.

    Attributes:
        name: the concept's word or words.
        family: object, colour, texture, size, relation, count or place.
        phrasings: ways to say it; the same number within a family.
    """

    name: str
    family: str
    phrasings: tuple[str, ...]


_PLACE_WORDS = {
    "left": "on the left",
    "right": "on the right",
    "above": "at the top",
    "below": "at the bottom",
}


def _concepts() -> list[Concept]:
    concepts = [
        Concept(name, "object", (with_article(name), f"a picture of {with_article(name)}"))
        for name in OBJECTS
    ]
    concepts += [
        Concept(name, "colour", (f"{with_article(name)} background", f"something on {name}"))
        for name in COLOURS
    ]
    concepts += [
        Concept(name, "texture", (f"a {name} background", f"something on a {name} background"))
        for name in TEXTURES
    ]
    concepts += [
        Concept(name, "size", (f"a {name} object", f"a picture of something {name}"))
        for name in SIZES
    ]
    concepts += [
        Concept("side by side", "relation", ("two objects side by side", "objects side by side")),
        Concept("stacked", "relation", ("one object above another", "objects stacked")),
        Concept("one object", "count", ("one object", "a single object")),
        Concept("two objects", "count", ("two objects", "a pair of objects")),
    ]
    concepts += [
        Concept(f"{name} {where}", "place", (f"{with_article(name)} {_PLACE_WORDS[where]}",) * 2)
        for name in OBJECTS
        for where in PLACES
    ]
    return concepts


CONCEPTS = tuple(_concepts())
FAMILIES = tuple(dict.fromkeys(concept.family for concept in CONCEPTS))
BANK_FAMILIES = tuple(family for family in FAMILIES if family != "place")


def concepts_of(family: str) -> list[Concept]:
    """The concepts of a family, in a fixed order."""
    return [concept for concept in CONCEPTS if concept.family == family]


def true_names(scene: Scene, family: str) -> set[str]:
    """The names of a family's concepts that are true of a scene; may be empty."""
    if family == "object":
        return set(scene.objects)
    if family == "colour":
        return {scene.colour}
    if family == "texture":
        return {scene.texture}
    if family == "size":
        return {scene.size} if scene.size else set()
    if family == "count":
        return {"one object" if len(scene.objects) == 1 else "two objects"}
    if scene.relation is None:
        return set()
    if family == "relation":
        return {"side by side" if "of" in scene.relation else "stacked"}
    return {f"{name} {place_name(scene, index)}" for index, name in enumerate(scene.objects)}


def subject_phrase(scene: Scene) -> str:
    """The caption without its background: `a small cat`, `a cat left of a rocket`."""
    if scene.relation is None:
        return f"a {scene.size} {scene.objects[0]}"
    first, second = (with_article(name) for name in scene.objects)
    return f"{first} {scene.relation} {second}"


def mirrored(scene: Scene) -> Scene:
    """The same picture in the other wording: `a dog below a cat` for `a cat above a dog`."""
    if scene.relation is None:
        return scene
    return Scene(scene.objects[::-1], None, OPPOSITE[scene.relation], scene.colour, scene.texture)


def with_relation(scene: Scene, relation: str) -> Scene:
    """The same two objects and background in another relation."""
    return Scene(scene.objects, None, relation, scene.colour, scene.texture)


def relation_phrases(scene: Scene) -> list[str]:
    """The subject phrase in each of the four relations, in the order of `RELATIONS`."""
    return [subject_phrase(with_relation(scene, relation)) for relation in RELATIONS]


def meaning(scene: Scene, with_background: bool) -> tuple:
    """Equal for scenes that look the same up to jitter, whatever their wording."""
    shown = frozenset(
        (name, scene.size or place_name(scene, index)) for index, name in enumerate(scene.objects)
    )
    return (shown, scene.colour, scene.texture) if with_background else (shown,)
