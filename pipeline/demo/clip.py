"""scenes-clip: a small CLIP that tells what a scene shows, saved as an open_clip folder."""

import json
import random
from pathlib import Path

import open_clip
import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTokenizer

from pipeline.demo.corpus import Corpus, batch_indices
from pipeline.demo.phrases import (
    FAMILIES,
    concepts_of,
    meaning,
    mirrored,
    subject_phrase,
    true_names,
    with_relation,
)
from pipeline.demo.scenes import IMAGE_SIZE, RELATIONS, Scene, caption
from pipeline.demo.tokenizer import CONTEXT_LENGTH
from pipeline.demo.training import Stage

MEAN = STD = (0.5, 0.5, 0.5)


def clip_config(vocabulary: int, width: int = 32, layers: int = 3) -> dict:
    """The `model_cfg` of open_clip: a small ResNet with attention pooling, a small transformer."""
    return {
        "embed_dim": 128,
        "vision_cfg": {
            "image_size": IMAGE_SIZE,
            "layers": [1, 2, 2, 1],
            "width": width,
            "patch_size": None,
        },
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocabulary,
            "hf_tokenizer_name": "scenes",
            "width": 128,
            "heads": 4,
            "layers": layers,
        },
    }


def build_clip(config: dict) -> open_clip.CLIP:
    """An untrained CLIP of a `model_cfg`."""
    text = {key: value for key, value in config["text_cfg"].items() if key != "hf_tokenizer_name"}
    return open_clip.CLIP(config["embed_dim"], config["vision_cfg"], text)


def export_clip(clip: open_clip.CLIP, config: dict, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Writes the folder that `open_clip.create_model_and_transforms("local-dir:...")` loads."""
    folder.mkdir(parents=True)
    preprocess = {
        "size": IMAGE_SIZE,
        "mode": "RGB",
        "mean": MEAN,
        "std": STD,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    settings = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
        for name, value in clip.state_dict().items()
    }
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)


def clip_stage(
    clip: open_clip.CLIP,
    tokenizer: CLIPTokenizer,
    corpus: Corpus,
    *,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
) -> Stage:
    """Contrastive training on captions, hard negatives, and the phrases of every concept family."""
    targets = {family: concept_targets(corpus.scenes, family) for family in FAMILIES}

    def loss(step: int, generator: torch.Generator) -> Tensor:
        indices = batch_indices(len(corpus.scenes), batch_size, generator)
        scenes = [corpus.scenes[index] for index in indices]
        texts, matches = caption_batch(scenes, random.Random(step))  # noqa: S311 - not for secrets
        banks = [
            [concept.phrasings[step % 2] for concept in concepts_of(family)] for family in FAMILIES
        ]
        all_texts = [*texts, *(phrase for bank in banks for phrase in bank)]
        with sdpa_kernel(SDPBackend.MATH):
            images = clip.encode_image(degrade(corpus.pixels(indices), generator), normalize=True)
            embedded = clip.encode_text(tokenize(tokenizer, all_texts), normalize=True)
        scale = clip.logit_scale.clamp(max=4.6).exp().float()
        with torch.autocast("cpu", enabled=False):
            logits = scale * images.float() @ embedded.float().T
        parts = logits.split([len(texts), *map(len, banks)], dim=1)
        total = contrast(parts[0], matches) + contrast(parts[0].T, matches.T)
        for family, part in zip(FAMILIES, parts[1:], strict=True):
            total = total + contrast(part, targets[family][indices])
        return total

    return Stage("clip", clip, loss, learning_rate, ema_decay=0.998)


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Int[Tensor, "n token"]:
    """Token ids, padded and cut to the context length."""
    return tokenizer(
        texts,
        padding="max_length",
        truncation=True,
        max_length=CONTEXT_LENGTH,
        return_tensors="pt",
    ).input_ids


def caption_batch(
    scenes: list[Scene], rng: random.Random
) -> tuple[list[str], Bool[Tensor, "image text"]]:
    """One text per scene, then one that is wrong only in the relation for each pair.

    Half of the batches leave out the background, and half of the pairs are worded from the other
    object's side. An image matches every text that is true of it.
    """
    with_background = rng.random() < 0.5
    wrong = [
        with_relation(scene, rng.choice([name for name in RELATIONS if name != scene.relation]))
        for scene in scenes
        if scene.relation
    ]
    captioned = [mirrored(scene) if rng.random() < 0.5 else scene for scene in [*scenes, *wrong]]
    texts = [caption(scene) if with_background else subject_phrase(scene) for scene in captioned]
    keys: dict[tuple, int] = {}
    shown = [keys.setdefault(meaning(scene, with_background), len(keys)) for scene in scenes]
    said = [keys.setdefault(meaning(scene, with_background), len(keys)) for scene in captioned]
    return texts, torch.tensor(shown)[:, None] == torch.tensor(said)[None, :]


def concept_targets(scenes: list[Scene], family: str) -> Bool[Tensor, "scene concept"]:
    """Which of a family's concepts are true of each scene."""
    names = [concept.name for concept in concepts_of(family)]
    position = {name: index for index, name in enumerate(names)}
    targets = torch.zeros(len(scenes), len(names), dtype=torch.bool)
    for row, scene in enumerate(scenes):
        for name in true_names(scene, family):
            targets[row, position[name]] = True
    return targets


def contrast(
    logits: Float[Tensor, "query key"], matches: Bool[Tensor, "query key"]
) -> Float[Tensor, ""]:
    """Cross-entropy to the matching keys, equally weighted; queries without one are left out."""
    counts = matches.sum(1)
    log_chance = F.log_softmax(logits, dim=1).masked_fill(~matches, 0.0).sum(1)
    return -(log_chance / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)


def degrade(
    pixels: Float[Tensor, "n c h w"], generator: torch.Generator, share: float = 0.25
) -> Float[Tensor, "n c h w"]:
    """Blurs and noises a share of the images, as early previews of a diffusion model look."""
    count = len(pixels)
    size = (16, 24, 32)[int(torch.randint(3, (1,), generator=generator))]
    blurred = F.interpolate(pixels, size=size, mode="area")
    blurred = F.interpolate(blurred, size=pixels.shape[-1], mode="bilinear", align_corners=False)
    chosen = torch.rand(2, count, 1, 1, 1, generator=generator) < share
    strength = 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    noise = strength * torch.randn(pixels.shape, generator=generator)
    return torch.where(chosen[0], blurred, pixels) + torch.where(chosen[1], noise, 0)


@torch.no_grad()
def embed_images(
    clip: open_clip.CLIP, pixels: Float[Tensor, "n 3 h w"], batch_size: int = 128
) -> Float[Tensor, "n d"]:
    """Unit image embeddings of pictures in [-1, 1]."""
    return torch.cat([clip.encode_image(part, normalize=True) for part in pixels.split(batch_size)])


@torch.no_grad()
def embed_texts(
    clip: open_clip.CLIP, tokenizer: CLIPTokenizer, texts: list[str]
) -> Float[Tensor, "n d"]:
    """Unit text embeddings."""
    return clip.encode_text(tokenize(tokenizer, texts), normalize=True)
