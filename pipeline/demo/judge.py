"""scenes-judge: a small classifier that reads a whole scene off a picture.

It marks the demo's text-to-image models, so that scenes-clip, which those are measured with
elsewhere, never marks itself.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.demo.clip import degrade
from pipeline.demo.corpus import Corpus, batch_indices
from pipeline.demo.scenes import COLOURS, OBJECTS, PLACES, SIZES, TEXTURES, Scene, place_name
from pipeline.demo.training import Stage
from pipeline.errors import ModelError
from pipeline.models.files import read_object

HEADS = {
    "object": len(OBJECTS),
    "place": len(OBJECTS) * len(PLACES),
    "colour": len(COLOURS),
    "texture": len(TEXTURES),
    "size": len(SIZES),
    "count": 2,
}
_IGNORED = -100


class Judge(nn.Module):
    """A plain residual network with one linear head per question."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 96, 160)) -> None:
        super().__init__()
        self.widths = widths
        self.stem = nn.Conv2d(3, widths[0], 3, stride=2, padding=1)
        pairs = pairwise(widths)
        self.blocks = nn.Sequential(
            *(layer for pair in pairs for layer in (_Block(pair[0]), _downsample(*pair)))
        )
        self.last = _Block(widths[-1])
        self.heads = nn.ModuleDict(
            {name: nn.Linear(16 * widths[-1], size) for name, size in HEADS.items()}
        )

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> dict[str, Float[Tensor, "n answer"]]:
        """The logits of each head for pictures in [-1, 1]; the 4 x 4 cells keep their places."""
        features = F.relu(self.last(self.blocks(self.stem(pixels)))).flatten(1)
        return {name: head(features) for name, head in self.heads.items()}


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)),
            *(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.body(x)


def _downsample(width: int, wider: int) -> nn.Module:
    return nn.Conv2d(width, wider, 3, stride=2, padding=1)


def scene_labels(scenes: list[Scene]) -> dict[str, Tensor]:
    """What each head should answer; `_IGNORED` where a scene does not say."""
    labels = {
        "object": torch.zeros(len(scenes), len(OBJECTS)),
        "place": torch.full((len(scenes), len(OBJECTS)), _IGNORED),
        "colour": torch.tensor([tuple(COLOURS).index(scene.colour) for scene in scenes]),
        "texture": torch.tensor([TEXTURES.index(scene.texture) for scene in scenes]),
        "size": torch.tensor(
            [tuple(SIZES).index(scene.size) if scene.size else _IGNORED for scene in scenes]
        ),
        "count": torch.tensor([len(scene.objects) - 1 for scene in scenes]),
    }
    for row, scene in enumerate(scenes):
        for index, name in enumerate(scene.objects):
            labels["object"][row, OBJECTS.index(name)] = 1
            where = place_name(scene, index)
            if where is not None:
                labels["place"][row, OBJECTS.index(name)] = PLACES.index(where)
    return labels


def judge_stage(
    judge: Judge, corpus: Corpus, *, batch_size: int = 64, learning_rate: float = 1e-3
) -> Stage:
    """The sum of every head's cross-entropy, on pictures of which some are blurred or noisy."""
    labels = scene_labels(corpus.scenes)

    def loss(step: int, generator: torch.Generator) -> Tensor:
        indices = batch_indices(len(corpus.scenes), batch_size, generator)
        answers = judge(degrade(corpus.pixels(indices), generator, share=0.2))
        logits = {name: value.float() for name, value in answers.items()}
        total = 10 * F.binary_cross_entropy_with_logits(logits["object"], labels["object"][indices])
        place_logits = logits["place"].view(-1, len(PLACES))
        total = total + _cross_entropy(place_logits, labels["place"][indices].flatten())
        for name in ("colour", "texture", "size", "count"):
            total = total + _cross_entropy(logits[name], labels[name][indices])
        return total

    return Stage("judge", judge, loss, learning_rate, ema_decay=0.998)


def _cross_entropy(
    logits: Float[Tensor, "n answer"], labels: Int[Tensor, " n"]
) -> Float[Tensor, ""]:
    """The mean over the labels that are not ignored; zero if all are."""
    total = F.cross_entropy(logits, labels, ignore_index=_IGNORED, reduction="sum")
    return total / (labels != _IGNORED).sum().clamp(min=1)


@dataclass(frozen=True)
class Verdict:
    """Whether each picture shows what its scene says, by question.

    `relation` needs both objects present and each in its place; it and `both` are only asked of
    pairs, `one` and `size` only of single objects (`asked` tells which).
    """

    right: dict[str, Bool[Tensor, " n"]]
    asked: dict[str, Bool[Tensor, " n"]]


@torch.no_grad()
def verdict(judge: Judge, pixels: Float[Tensor, "n 3 h w"], scenes: list[Scene]) -> Verdict:
    """Marks pictures in [-1, 1] against the scenes they should show.

    A picture of n objects shows those with the n highest object logits.
    """
    answers = judge(pixels)
    present = _all_present(answers["object"], scenes)
    answered_places = answers["place"].view(len(scenes), len(OBJECTS), len(PLACES)).argmax(-1)
    labels = scene_labels(scenes)
    single = labels["count"] == 0
    asked_place = labels["place"] != _IGNORED
    placed = ((answered_places == labels["place"]) | ~asked_place).all(1)
    everything = torch.ones_like(single)
    right = {
        "one": present & (answers["count"].argmax(1) == 0),
        "both": present,
        "relation": present & placed,
        "size": answers["size"].argmax(1) == labels["size"],
        "colour": answers["colour"].argmax(1) == labels["colour"],
        "texture": answers["texture"].argmax(1) == labels["texture"],
        "count": answers["count"].argmax(1) == labels["count"],
    }
    asked = dict.fromkeys(right, everything)
    asked |= {"one": single, "size": single, "both": ~single, "relation": ~single}
    return Verdict(right, asked)


def _all_present(logits: Float[Tensor, "n object"], scenes: list[Scene]) -> Bool[Tensor, " n"]:
    """Whether a scene's objects are the ones with the highest logits."""
    ranked: Int[Tensor, "n object"] = logits.argsort(dim=1, descending=True)
    return torch.tensor(
        [
            {OBJECTS[index] for index in order[: len(scene.objects)]} == set(scene.objects)
            for order, scene in zip(ranked.tolist(), scenes, strict=True)
        ]
    )


def export_judge(judge: Judge, folder: Path) -> None:
    """Writes config.json and float16 weights."""
    folder.mkdir(parents=True)
    config = {"widths": judge.widths, "heads": HEADS, "image_size": 64}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in judge.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors")


def check_judge(folder: Path) -> None:
    """Checks a judge's folder before it is loaded.

    Raises:
        ModelError: it is not what `export_judge` wrote.
    """
    config = read_object(folder / "config.json", f"judge {folder}")
    if config.get("heads") != HEADS or not isinstance(config.get("widths"), list):
        raise ModelError(
            f"judge {folder}: config.json is not that of a scenes-judge. Give the folder data/models/scenes-judge."
        )
    if not (folder / "model.safetensors").is_file():
        raise ModelError(f"judge {folder}: no model.safetensors. Copy the whole folder.")


def load_judge(folder: Path) -> Judge:
    """The judge of a folder that `export_judge` wrote, in float32."""
    config = json.loads((folder / "config.json").read_text())
    judge = Judge(tuple(config["widths"]))
    judge.load_state_dict(load_file(folder / "model.safetensors"))
    return judge.eval()
