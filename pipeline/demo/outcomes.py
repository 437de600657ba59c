"""What scenes-judge says of pictures: the truth of prompt switches, and the attributes that redraws keep or lose."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.demo.judge import load_judge
from pipeline.demo.pairs import scene_of
from pipeline.demo.scenes import COLOURS, OBJECTS, PLACES, SIZES, TEXTURES, Scene, place_name


class SceneJudge:
    """A judge of images in [0, 1].

    Args:
        folder: of scenes-judge.
        device: where it works.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._judge, self._device = load_judge(folder).to(device), device

    def says(
        self, images: Float[Tensor, "b 3 h w"], texts: Sequence[str], bases: Sequence[str]
    ) -> list[float | None]:
        """Of images, their prompts and the bases: 1 where an image shows all that its prompt says and the base does not, 0 where
        it does not, None where one of them is no caption of the grammar."""
        return [_says(*each) for each in zip(self._answers(images), texts, bases, strict=True)]

    def reads(
        self, images: Float[Tensor, "b 3 h w"], texts: Sequence[str]
    ) -> list[dict[str, Hashable]]:
        """What images show, by family: the objects, as many as the prompt names, their places where there are two (relation),
        colour, texture and size. Empty for texts that are no caption of the grammar."""
        answers = zip(self._answers(images), texts, strict=True)
        return [_reading(answer, scene_of(text)) for answer, text in answers]

    @torch.no_grad()
    def _answers(self, images: Float[Tensor, "b 3 h w"]) -> list[dict[str, Tensor]]:
        """The logits of each image, by question."""
        answers = self._judge(images.to(self._device, torch.float32) * 2 - 1)
        return [
            {name: logits[i].cpu() for name, logits in answers.items()} for i in range(len(images))
        ]


def _reading(answer: dict[str, Tensor], scene: Scene | None) -> dict[str, Hashable]:
    if scene is None:
        return {}
    shown = frozenset(_shown(answer, scene))
    reading: dict[str, Hashable] = {"object": shown}
    reading |= {name: int(answer[name].argmax()) for name in ("colour", "texture")}
    if scene.size is not None:
        reading["size"] = int(answer["size"].argmax())
    if scene.relation is not None:
        answered = answer["place"].view(len(OBJECTS), len(PLACES)).argmax(-1)
        reading["relation"] = frozenset((index, int(answered[index])) for index in shown)
    return reading


def _says(answer: dict[str, Tensor], text: str, base: str) -> float | None:
    scene, other = scene_of(text), scene_of(base)
    if scene is None or other is None:
        return None
    checks = []
    for name in set(scene.objects) - set(other.objects) if text != base else set(scene.objects):
        checks.append(OBJECTS.index(name) in _shown(answer, scene))
    if scene.colour != other.colour:
        checks.append(int(answer["colour"].argmax()) == list(COLOURS).index(scene.colour))
    if scene.texture != other.texture:
        checks.append(int(answer["texture"].argmax()) == TEXTURES.index(scene.texture))
    if scene.size != other.size and scene.size is not None:
        checks.append(int(answer["size"].argmax()) == list(SIZES).index(scene.size))
    if scene.relation != other.relation and scene.relation is not None:
        checks.append(_placed(answer, scene))
    return float(all(checks)) if checks else None


def _shown(answer: dict[str, Tensor], scene: Scene) -> set[int]:
    """The objects of a picture: as many as the scene has, those with the highest logits."""
    return set(answer["object"].topk(len(scene.objects)).indices.tolist())


def _placed(answer: dict[str, Tensor], scene: Scene) -> bool:
    """Whether both objects are shown, each in its place."""
    answered = answer["place"].view(len(OBJECTS), len(PLACES)).argmax(-1)
    wanted = {OBJECTS.index(name): place_name(scene, i) for i, name in enumerate(scene.objects)}
    return wanted.keys() <= _shown(answer, scene) and all(
        PLACES[int(answered[index])] == where for index, where in wanted.items()
    )
