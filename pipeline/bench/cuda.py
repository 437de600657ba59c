"""What full recording costs on a GPU, on a pipeline of the size of Stable Diffusion 1.5 with random weights.

Speed does not depend on the weights, so none are fetched: UNet, autoencoders and scorer are made from their configurations.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import open_clip
import torch
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pipeline.bench.studies import BATCH, FULL, STEPS, study_of
from pipeline.bench.tools import ROOT, Result, seconds
from pipeline.results.folder import Results
from pipeline.results.shards import write_shard
from pipeline.study.plan import WorkUnit
from pipeline.study.spec import ModelSpec, ScorerSpec

MODELS = ROOT / "data" / "models"
WANTED = 1.15


@dataclass(frozen=True)
class Size:
    """How large the parts are.

    Attributes:
        unet: channels of the UNet's levels, all but the last with attention.
        text: width of the text encoder. layers: its layers.
        vae, tiny: channels of the autoencoders' levels.
        side: of an image, px.
        vision: open_clip's name of the scorer's architecture, or its configuration.
    """

    unet: tuple[int, ...] = (320, 640, 1280, 1280)
    text: int = 768
    layers: int = 12
    vae: tuple[int, ...] = (128, 256, 512, 512)
    tiny: tuple[int, ...] = (64, 64, 64, 64)
    side: int = 512
    vision: str = "ViT-B-32"


SD15 = Size()


def build(folder: Path, size: Size = SD15) -> None:
    """Saves a pipeline, a tiny autoencoder and a scorer of a size into `model`, `tiny` and `scorer`."""
    torch.manual_seed(0)
    _pipeline(size).save_pretrained(folder / "model")
    diffusers.AutoencoderTiny(
        encoder_block_out_channels=size.tiny,
        decoder_block_out_channels=size.tiny,
        num_encoder_blocks=(1, *(3,) * (len(size.tiny) - 1)),
        num_decoder_blocks=(*(3,) * (len(size.tiny) - 1), 1),
    ).save_pretrained(folder / "tiny")
    _scorer(folder / "scorer", size)


def _pipeline(size: Size) -> Any:
    tokenizer = CLIPTokenizer.from_pretrained(
        MODELS / "scenes-unet" / "tokenizer", model_max_length=77
    )
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.text,
        intermediate_size=4 * size.text,
        num_hidden_layers=size.layers,
        num_attention_heads=max(2, size.text // 64),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    inner = len(size.unet) - 1
    unet = diffusers.UNet2DConditionModel(
        sample_size=size.side // 2 ** (len(size.vae) - 1),
        block_out_channels=size.unet,
        down_block_types=("CrossAttnDownBlock2D",) * inner + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * inner,
        cross_attention_dim=size.text,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=size.vae,
        down_block_types=("DownEncoderBlock2D",) * len(size.vae),
        up_block_types=("UpDecoderBlock2D",) * len(size.vae),
        layers_per_block=2,
        latent_channels=4,
        sample_size=size.side,
        force_upcast=False,
    )
    return diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet,
        scheduler=diffusers.DDIMScheduler(clip_sample=False, beta_schedule="scaled_linear", steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def _scorer(folder: Path, size: Size) -> None:
    """A scorer's folder: open_clip's architecture, the bundled tokenizer, random weights."""
    bundled = MODELS / "scenes-clip"
    shutil.copytree(bundled, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((bundled / "open_clip_config.json").read_text())
    known = open_clip.get_model_config(size.vision)
    text = known["text_cfg"] | {
        name: config["model_cfg"]["text_cfg"][name] for name in ("vocab_size", "context_length")
    }
    side = known["vision_cfg"]["image_size"]
    model = {
        **known,
        "text_cfg": {
            **text,
            "hf_tokenizer_name": config["model_cfg"]["text_cfg"]["hf_tokenizer_name"],
        },
    }
    config |= {"model_cfg": model, "preprocess_cfg": config["preprocess_cfg"] | {"size": side}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    weights = open_clip.CLIP(known["embed_dim"], known["vision_cfg"], text).state_dict()
    save_file(weights, folder / "open_clip_model.safetensors")


def bench_cuda(
    repeats: int, device: str = "cuda", size: Size = SD15, steps: int = STEPS, batch: int = BATCH
) -> list[Result]:
    """Full recording against the plain pipeline in float16: steps decoded by the tiny autoencoder, and by the full one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(folder, size)
        return [
            _row(
                what,
                folder / decoder if decoder else None,
                folder,
                repeats,
                device,
                size,
                steps,
                batch,
            )
            for what, decoder in (
                ("a TAESD-sized autoencoder", "tiny"),
                ("the full autoencoder", None),
            )
        ]


def _row(
    what: str,
    decoder: Path | None,
    folder: Path,
    repeats: int,
    device: str,
    size: Size,
    steps: int,
    batch: int,
) -> Result:
    on, off = _times(decoder, folder, repeats, device, size, steps, batch)
    wanted = decoder is not None
    return Result(
        f"full recording on {_named(device)}, {batch} images of {size.side} px, {steps} steps decoded by {what}",
        "plain pipeline, same batch",
        f"{on:.2f} s",
        f"{off:.2f} s",
        f"{on / off:.2f}x",
        f"at most {WANTED}x" if wanted else "nothing: reported",
        on / off <= WANTED if wanted else None,
    )


def _times(
    decoder: Path | None,
    folder: Path,
    repeats: int,
    device: str,
    size: Size,
    steps: int,
    batch: int,
) -> tuple[float, float]:
    """Median seconds of recording and of the plain pipeline."""
    from pipeline.diffusion.generate import generate
    from pipeline.engine.worker import Worker

    study, prompts, bank = study_of(
        batch, steps, measures=FULL, batch_size=batch, unit_prompts=batch
    )
    model = ModelSpec(
        "sd15", "sd15", str(folder / "model"), steps=steps, guidance=7.5,
        dtype="float16" if device == "cuda" else "float32",
        steps_decoder=None if decoder is None else str(decoder),
    )  # fmt: skip
    study = replace(study, models=(model,), scorer=ScorerSpec(str(folder / "scorer")))
    work_unit = WorkUnit("bench", model, prompts, 0)
    results = Results(folder / "results")
    results.create()
    with Worker(study, model, bank, device) as worker:

        def ours() -> None:
            write_shard(results.store, work_unit.unit_id, worker.run(work_unit))

        def plain() -> None:
            generate(worker.pipeline, model, work_unit.prompts, work_unit.seed, {})

        pairs = [(_seconds(ours), _seconds(plain)) for _ in range(1 + repeats)][
            1:
        ]  # one to warm up
    on, off = zip(*pairs, strict=True)
    return statistics.median(on), statistics.median(off)


def _seconds(act: Callable[[], Any]) -> float:
    """Wall-clock time until the device has done all that it was given."""

    def finished() -> None:
        act()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return seconds(finished)


def _named(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device
