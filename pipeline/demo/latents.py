"""The latents that the denoisers train on: computed once by the trained autoencoder, and kept."""

from pathlib import Path

from diffusers import AutoencoderKL
from jaxtyping import Float, Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.demo.autoencoder import build_autoencoder, encode
from pipeline.demo.clip import tokenize
from pipeline.demo.corpus import compose_corpus
from pipeline.demo.scenes import caption
from pipeline.demo.tokenizer import build_tokenizer
from pipeline.demo.training import load_average

AUTOENCODER, LATENTS = "autoencoder.safetensors", "latents.safetensors"


def encoded_corpus(
    folder: Path, count: int, seed: int
) -> tuple[AutoencoderKL, Float[Tensor, "n 4 h w"], Int[Tensor, "n token"]]:
    """The trained autoencoder, unscaled latents of scenes, and their captions' tokens.

    Args:
        folder: of the autoencoder's checkpoint; the latents are kept there.
        count: how many scenes, if the latents are not there yet.
        seed: of the scenes.
    """
    if not (folder / LATENTS).exists():
        _write_latents(folder, count, seed)
    stored = load_file(folder / LATENTS)
    return load_autoencoder(folder), stored["latents"].float(), stored["tokens"]


def _write_latents(folder: Path, count: int, seed: int) -> None:
    autoencoder = build_autoencoder()
    load_average(folder / AUTOENCODER, autoencoder)
    corpus = compose_corpus(count, seed)
    captions = [caption(scene) for scene in corpus.scenes]
    latents = encode(autoencoder, corpus).half().contiguous()
    partial = (folder / LATENTS).with_suffix(".partial")
    save_file({"latents": latents, "tokens": tokenize(build_tokenizer(), captions)}, partial)
    partial.replace(folder / LATENTS)


def load_autoencoder(folder: Path) -> AutoencoderKL:
    """The trained autoencoder, with the shift and scale that bring the kept latents to N(0, 1)."""
    autoencoder = build_autoencoder()
    load_average(folder / AUTOENCODER, autoencoder)
    latents = load_file(folder / LATENTS)["latents"].float()
    autoencoder.register_to_config(
        shift_factor=round(latents.mean().item(), 6),
        scaling_factor=round(1 / latents.std().item(), 6),
    )
    return autoencoder
