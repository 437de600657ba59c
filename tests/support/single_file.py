"""Tiny models as one safetensors file in the layout of Stable Diffusion's authors, the inverse of what diffusers translates."""

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

UNET = {
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}
RESNET = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "time_emb_proj.": "emb_layers.1.",
    "conv_shortcut.": "skip_connection.",
}
VAE = {
    "conv_norm_out.": "norm_out.",
    "mid_block.resnets.0.": "mid.block_1.",
    "mid_block.resnets.1.": "mid.block_2.",
    "mid_block.attentions.0.": "mid.attn_1.",
    "conv_shortcut.": "nin_shortcut.",
}
ATTENTION = {"group_norm.": "norm.", "to_q.": "q.", "to_k.": "k.", "to_v.": "v.", "to_out.0.": "proj_out."}  # fmt: skip


def replaced(name: str, names: dict[str, str]) -> str:
    """A name with each beginning of one of its parts replaced."""
    for ours, theirs in names.items():
        name = re.sub(rf"(^|\.){re.escape(ours)}", rf"\g<1>{theirs}", name)
    return name


def of_unet(unet: Any) -> dict[str, Tensor]:
    """A UNet's tensors."""
    layers = unet.config.layers_per_block + 1
    attended = {n.split(".")[1] for n, _ in unet.named_modules() if re.match(r"up_blocks\.\d+\.attentions", n)}  # fmt: skip

    def theirs(name: str) -> str:
        match = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name)  # fmt: skip
        if match is None:
            first = replaced(name, UNET)
            resnet = first.startswith(("middle_block.0.", "middle_block.2."))
            return replaced(first, RESNET) if resnet else first
        way, block, part, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        if part == "downsamplers":
            return f"input_blocks.{layers * (block + 1)}.0.op.{rest.removeprefix('conv.')}"
        if part == "upsamplers":
            return f"output_blocks.{layers * block + layers - 1}.{2 if match[2] in attended else 1}.{rest}"
        number = layers * block + layer + (1 if way == "down" else 0)
        side = "input_blocks" if way == "down" else "output_blocks"
        inner = replaced(rest, RESNET) if part == "resnets" else rest
        return f"{side}.{number}.{0 if part == 'resnets' else 1}.{inner}"

    return {f"model.diffusion_model.{theirs(n)}": t for n, t in unet.state_dict().items()}


def of_vae(vae: Any) -> dict[str, Tensor]:
    """An autoencoder's tensors."""
    levels = len(vae.config.block_out_channels)
    tensors = {}
    for name, tensor in vae.state_dict().items():
        name = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
        name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", name)
        name = re.sub(r"up_blocks\.(\d+)\.resnets\.", lambda m: f"up.{levels - 1 - int(m[1])}.block.", name)  # fmt: skip
        name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f"up.{levels - 1 - int(m[1])}.upsample.", name)  # fmt: skip
        name = replaced(name, VAE)
        if ".attn_1." in name:
            name = replaced(name, ATTENTION)
            if name.endswith("weight") and ".norm." not in name:
                tensor = tensor[:, :, None, None]
        tensors[f"first_stage_model.{name}"] = tensor
    return tensors


def of_text(encoder: Any, prefix: str) -> dict[str, Tensor]:
    """A text encoder's tensors, as OpenAI's CLIP names them."""
    tensors = encoder.state_dict()
    wrapped = any(name.startswith("text_model.") for name in tensors)
    return {f"{prefix}{'' if wrapped else 'text_model.'}{n}": t for n, t in tensors.items()}


def write_single_file(pipeline: Any, file: Path) -> None:
    """Writes a Stable Diffusion 1 pipeline's weights, and what its authors' files hold besides."""
    tensors = of_unet(pipeline.unet) | of_vae(pipeline.vae)
    tensors |= of_text(pipeline.text_encoder, "cond_stage_model.transformer.")
    tensors |= {name: pipeline.scheduler.betas.clone() for name in ("betas", "model_ema.decay")}
    save_file({n: t.contiguous() for n, t in tensors.items()}, file)
