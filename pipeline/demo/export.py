"""Writes the demo models as folders that diffusers loads like any other checkpoint."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
)
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import nn
from transformers import CLIPTokenizer

from pipeline.demo.clip import build_clip, clip_config, export_clip
from pipeline.demo.denoisers import (
    BETAS,
    SHORT_SHARE,
    TRAIN_TIMESTEPS,
    TransformerModel,
    UNetModel,
    build_transformer,
    build_unet,
)
from pipeline.demo.judge import Judge, export_judge
from pipeline.demo.latents import load_autoencoder
from pipeline.demo.text import build_text_encoder, without_projection
from pipeline.demo.tokenizer import build_tokenizer
from pipeline.demo.training import load_average


def unet_pipeline(
    autoencoder: AutoencoderKL, model: UNetModel, tokenizer: CLIPTokenizer
) -> StableDiffusionPipeline:
    """A Stable Diffusion pipeline without a safety checker, sampling with DDIM."""
    model.unet.set_attn_processor(AttnProcessor2_0())
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        unet=model.unet,
        scheduler=DDIMScheduler(
            num_train_timesteps=TRAIN_TIMESTEPS,
            **BETAS,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def transformer_pipeline(
    autoencoder: AutoencoderKL, model: TransformerModel, tokenizer: CLIPTokenizer
) -> StableDiffusion3Pipeline:
    """A Stable Diffusion 3 pipeline without T5."""
    return StableDiffusion3Pipeline(
        vae=autoencoder,
        transformer=model.transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=TRAIN_TIMESTEPS),
        text_encoder=model.text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=model.text_encoder_2,
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )


def save_half(pipeline: StableDiffusionPipeline | StableDiffusion3Pipeline, folder: Path) -> None:
    """Saves a pipeline with float16 weights that load as float32 unless asked otherwise.

    transformers loads a model in the type that its config names, diffusers in float32; the two must
    agree, or the denoiser is handed half-precision text.
    """
    modules = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    for module in modules:
        module.half()
    pipeline.save_pretrained(folder, safe_serialization=True)
    for module in modules:
        module.float()
    for path in folder.glob("text_encoder*/config.json"):
        config = json.loads(path.read_text())
        config["dtype"] = "float32"
        path.write_text(json.dumps(config, indent=2) + "\n")


def replace_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Writes a folder beside its place, then swaps it in, so that no reader sees half of it."""
    partial, old = (folder.with_name(f".{folder.name}.{part}") for part in ("new", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    write(partial)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def export_models(checkpoints: Path, models: Path) -> list[Path]:
    """Writes every model folder that the checkpoints allow, and returns the folders.

    scenes-unet-short is the average that was kept at a quarter of the UNet's training.
    """
    tokenizer = build_tokenizer()
    writers = {
        "clip.safetensors": ("scenes-clip", _clip_writer),
        "judge.safetensors": ("scenes-judge", _judge_writer),
        "relations.safetensors": ("scenes-unet", unet_writer),
        f"unet-{SHORT_SHARE:g}.safetensors": ("scenes-unet-short", unet_writer),
        "dit.safetensors": ("scenes-dit", _transformer_writer),
    }
    written = []
    for file, (name, writer) in writers.items():
        if (checkpoints / file).exists():
            replace_folder(models / name, writer(checkpoints / file, tokenizer))
            written.append(models / name)
    return written


def _clip_writer(path: Path, tokenizer: CLIPTokenizer) -> Callable[[Path], None]:
    config = clip_config(len(tokenizer))
    clip = build_clip(config)
    load_average(path, clip)
    return lambda folder: export_clip(clip, config, tokenizer, folder)


def _judge_writer(path: Path, tokenizer: CLIPTokenizer) -> Callable[[Path], None]:
    judge = Judge()
    load_average(path, judge)
    return lambda folder: export_judge(judge, folder)


def unet_writer(path: Path, tokenizer: CLIPTokenizer) -> Callable[[Path], None]:
    """What writes the UNet whose averaged weights a file holds, beside its autoencoder, as a pipeline's folder."""
    model = UNetModel(build_unet(), without_projection(build_text_encoder(tokenizer)))
    load_average(path, model)
    pipeline = unet_pipeline(load_autoencoder(path.parent), model, tokenizer)
    return lambda folder: save_half(pipeline, folder)


def _transformer_writer(path: Path, tokenizer: CLIPTokenizer) -> Callable[[Path], None]:
    encoders = [build_text_encoder(tokenizer) for _ in range(2)]
    model = TransformerModel(build_transformer(), *encoders)
    load_average(path, model)
    pipeline = transformer_pipeline(load_autoencoder(path.parent), model, tokenizer)
    return lambda folder: save_half(pipeline, folder)
