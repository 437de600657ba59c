"""Checkpoints of a short training of the bundled UNet from nothing: python -m pipeline demo checkpoints --out FOLDER.

The text encoder and the autoencoder are those of scenes-unet and stay as they are; the loss is that of stage "unet".
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from transformers import CLIPTextModel

from pipeline.demo.clip import tokenize
from pipeline.demo.denoisers import UNetModel, build_unet, unet_stage
from pipeline.demo.export import replace_folder, unet_writer
from pipeline.demo.latents import AUTOENCODER, encoded_corpus
from pipeline.demo.tokenizer import build_tokenizer
from pipeline.demo.train import Recipe
from pipeline.demo.training import Budget, Stage, fit, read_tensors

RECIPE = Recipe(4_000, 51, 16, 1e-3, Budget(1_600, minutes=10))
COUNT = 8
STATE = "training"  # the folder of the optimiser's state and of the encoded scenes


def train_checkpoints(
    folder: Path, models: Path, *, recipe: Recipe = RECIPE, count: int = COUNT, quiet: bool = False
) -> list[Path]:
    """Trains, and writes a whole pipeline as `checkpoint-STEP` at equal shares of the budget; resumes where it stopped.

    Args:
        folder: of the checkpoints.
        models: the bundled models.
        recipe: scenes, batch and budget.
        count: how many checkpoints.
        quiet: no progress bar.

    Returns: the folders that are there at the end, by step.
    """
    state = folder / STATE
    state.mkdir(parents=True, exist_ok=True)
    if not (state / AUTOENCODER).exists():
        autoencoder = AutoencoderKL.from_pretrained(models / "scenes-unet" / "vae")
        save_file(autoencoder.state_dict(), state / AUTOENCODER)
    writer = _writer(folder)
    stage = _stage(state, models, recipe)
    shares = tuple((index + 1) / count for index in range(count))
    fit(replace(stage, keep_at=shares, on_copy=writer), recipe.budget, state, quiet=quiet)
    for share in shares:  # of a run that was killed between the weights and the folder
        writer(state / f"{stage.name}-{share:g}.safetensors")
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def _stage(state: Path, models: Path, recipe: Recipe) -> Stage:
    torch.manual_seed(recipe.seed)
    autoencoder, latents, tokens = encoded_corpus(state, recipe.scenes, recipe.seed)
    text_encoder = CLIPTextModel.from_pretrained(models / "scenes-unet" / "text_encoder")
    model = UNetModel(build_unet(), text_encoder.float().requires_grad_(False))
    empty = tokenize(build_tokenizer(), [""])[0]
    scaled = latents * autoencoder.config.scaling_factor
    stage = unet_stage(model, scaled, tokens, empty, batch_size=recipe.batch_size)
    return replace(stage, learning_rate=recipe.learning_rate)


def _writer(folder: Path) -> Callable[[Path], None]:
    """Writes kept weights as a pipeline's folder, once."""
    tokenizer = build_tokenizer()

    def write(weights: Path) -> None:
        if not weights.exists():
            return
        checkpoint = folder / f"checkpoint-{read_tensors(weights)[1].step}"
        if not checkpoint.exists():
            replace_folder(checkpoint, unet_writer(weights, tokenizer))

    return write
