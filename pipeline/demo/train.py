"""Trains the demo's models from nothing: python -m pipeline demo train --out FOLDER.

The stages, in the order in which they need each other: the autoencoder; scenes-clip; the judge; a
text encoder that can read captions; then the UNet, some more of the UNet where layouts are decided,
and the transformer, on the autoencoder's latents and from that text encoder. Each stage is a
checkpoint in the folder, and resumes from it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from pipeline.demo.autoencoder import autoencoder_stage, build_autoencoder
from pipeline.demo.clip import build_clip, clip_config, clip_stage, tokenize
from pipeline.demo.corpus import compose_corpus
from pipeline.demo.denoisers import (
    TransformerModel,
    UNetModel,
    build_transformer,
    build_unet,
    relations_stage,
    transformer_stage,
    unet_stage,
)
from pipeline.demo.judge import Judge, judge_stage
from pipeline.demo.latents import encoded_corpus
from pipeline.demo.scenes import CATEGORIES, SIZES, sample_scene
from pipeline.demo.text import (
    CaptionReader,
    build_text_encoder,
    reading_stage,
    without_projection,
)
from pipeline.demo.tokenizer import build_tokenizer
from pipeline.demo.training import Budget, Progress, Stage, fit, load_average

TEXT_PAIR_SHARE = 0.7
TRAINED = {"clip": "scenes-clip/open_clip_model.safetensors"}


@dataclass(frozen=True)
class Recipe:
    """How one stage is trained.

    Attributes:
        scenes: how many are composed for it.
        seed: of those scenes.
        batch_size: scenes a step.
        learning_rate: the peak.
        budget: steps and minutes.
        categories: of the scenes; empty for those that a generator may be trained on.
    """

    scenes: int
    seed: int
    batch_size: int
    learning_rate: float
    budget: Budget
    categories: tuple[str, ...] = ()


# What reads pictures knows every pair, or it could not mark what the generators make of the pairs held out of theirs.
ALL_PAIRS = (*CATEGORIES[:2], *CATEGORIES[1:])
RECIPES = {
    "autoencoder": Recipe(24_000, 1, 16, 2e-3, Budget(4_211)),
    "clip": Recipe(30_000, 11, 64, 1e-3, Budget(2_717), ALL_PAIRS),
    "judge": Recipe(30_000, 41, 64, 1e-3, Budget(2_342), ALL_PAIRS),
    "text": Recipe(40_000, 21, 64, 1e-3, Budget(1_948)),
    "unet": Recipe(40_000, 31, 16, 1e-3, Budget(8_572)),
    "relations": Recipe(40_000, 31, 24, 6e-4, Budget(2_618)),
    "dit": Recipe(40_000, 31, 24, 1e-3, Budget(8_557)),
}
# From the weights of a folder of models: how the shipped scenes-clip, trained without the held-out pairs, learned them.
FURTHER = {"clip": Recipe(20_000, 12, 64, 4e-4, Budget(600), ALL_PAIRS)}


def train(
    folder: Path,
    stages: tuple[str, ...] = tuple(RECIPES),
    *,
    recipes: dict[str, Recipe] | None = None,
    minutes: float = float("inf"),
    quiet: bool = False,
) -> dict[str, Progress]:
    """Trains the stages named, in order, from their checkpoints in a folder if there are any.

    Args:
        folder: of the checkpoints.
        stages: names among `RECIPES`.
        recipes: other settings than the published ones.
        minutes: a limit for each stage; its learning rate falls in time for it.
        quiet: no progress bars.
    """
    finished = {}
    for name in stages:
        recipe = (recipes or RECIPES)[name]
        budget = replace(recipe.budget, minutes=min(minutes, recipe.budget.minutes))
        finished[name] = fit(build_stage(name, folder, recipe), budget, folder, quiet=quiet)
    return finished


def train_further(
    folder: Path, models: Path, *, recipes: dict[str, Recipe] | None = None, quiet: bool = False
) -> dict[str, Progress]:
    """Trains scenes-clip of a folder of models some more, on all pairs; resumes like `train`."""
    progress = {}
    for name, recipe in (recipes or FURTHER).items():
        stage = build_stage(name, folder, recipe)
        weights = load_file(models / TRAINED[name])
        stage.model.load_state_dict(weights)
        progress[name] = fit(stage, recipe.budget, folder, quiet=quiet)
    return progress


def build_stage(name: str, folder: Path, recipe: Recipe) -> Stage:
    """A stage with its untrained model and scenes; later ones read the folder's checkpoints."""
    torch.manual_seed(recipe.seed)
    builders: dict[str, Callable[[Path, Recipe], Stage]] = {
        "autoencoder": _autoencoder,
        "clip": _clip,
        "judge": _judge,
        "text": _text,
        "unet": _unet,
        "relations": _relations,
        "dit": _transformer,
    }
    stage = builders[name](folder, recipe)
    return replace(stage, learning_rate=recipe.learning_rate)


def _autoencoder(folder: Path, recipe: Recipe) -> Stage:
    corpus = compose_corpus(recipe.scenes, recipe.seed)
    return autoencoder_stage(build_autoencoder(), corpus, batch_size=recipe.batch_size)


def _clip(folder: Path, recipe: Recipe) -> Stage:
    tokenizer = build_tokenizer()
    clip = build_clip(clip_config(len(tokenizer)))
    corpus = compose_corpus(recipe.scenes, recipe.seed, categories=recipe.categories or None)
    return clip_stage(clip, tokenizer, corpus, batch_size=recipe.batch_size)


def _judge(folder: Path, recipe: Recipe) -> Stage:
    corpus = compose_corpus(recipe.scenes, recipe.seed, categories=recipe.categories or None)
    return judge_stage(Judge(), corpus, batch_size=recipe.batch_size)


def _text(folder: Path, recipe: Recipe) -> Stage:
    tokenizer = build_tokenizer()
    reader = CaptionReader(build_text_encoder(tokenizer))
    rng = np.random.default_rng(recipe.seed)
    scenes = [
        sample_scene(rng, (CATEGORIES[int(rng.random() < TEXT_PAIR_SHARE)],))
        for _ in range(recipe.scenes)
    ]
    return reading_stage(reader, tokenizer, scenes, batch_size=recipe.batch_size)


def _unet(folder: Path, recipe: Recipe) -> Stage:
    autoencoder, latents, tokens = encoded_corpus(folder, recipe.scenes, recipe.seed)
    tokenizer = build_tokenizer()
    model = UNetModel(build_unet(), without_projection(_trained_reader(folder, tokenizer)))
    scaled = latents * autoencoder.config.scaling_factor
    empty = tokenize(tokenizer, [""])[0]
    return unet_stage(model, scaled, tokens, empty, batch_size=recipe.batch_size)


def _relations(folder: Path, recipe: Recipe) -> Stage:
    """The trained UNet with the text encoder from before it, on pairs and a third of the rest."""
    autoencoder, latents, tokens = encoded_corpus(folder, recipe.scenes, recipe.seed)
    tokenizer = build_tokenizer()
    model = UNetModel(build_unet(), without_projection(build_text_encoder(tokenizer)))
    load_average(folder / "unet.safetensors", model)
    model.text_encoder = without_projection(_trained_reader(folder, tokenizer))
    sizes = torch.tensor(tokenizer.convert_tokens_to_ids([f"{size}</w>" for size in SIZES]))
    single = torch.isin(tokens, sizes).any(1)
    chosen = ~single | (torch.arange(len(tokens)) % 3 == 0)
    scaled = (latents * autoencoder.config.scaling_factor)[chosen]
    empty = tokenize(tokenizer, [""])[0]
    return relations_stage(model, scaled, tokens[chosen], empty, batch_size=recipe.batch_size)


def _transformer(folder: Path, recipe: Recipe) -> Stage:
    autoencoder, latents, tokens = encoded_corpus(folder, recipe.scenes, recipe.seed)
    tokenizer = build_tokenizer()
    encoders = [_trained_reader(folder, tokenizer) for _ in range(2)]
    model = TransformerModel(build_transformer(), *encoders)
    config = autoencoder.config
    scaled = (latents - config.shift_factor) * config.scaling_factor
    empty = tokenize(tokenizer, [""])[0]
    return transformer_stage(model, scaled, tokens, empty, batch_size=recipe.batch_size)


def _trained_reader(folder: Path, tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """The text encoder that can already read captions."""
    reader = CaptionReader(build_text_encoder(tokenizer))
    load_average(folder / "text.safetensors", reader)
    return reader.encoder
