"""Tiny denoisers with random weights, of the architectures that the explanation tools know, and a tiny scorer."""

import json
import shutil
from pathlib import Path

import open_clip
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from safetensors.torch import save_file


def tiny_unet(seed=0):
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=2,
        norm_num_groups=4,
    ).eval()


def tiny_sd3(seed=0):
    torch.manual_seed(seed)
    return SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=16,
        pooled_projection_dim=10,
        pos_embed_max_size=8,
        qk_norm="rms_norm",
        dual_attention_layers=(0,),
    ).eval()


def tiny_flux(seed=0):
    torch.manual_seed(seed)
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=10,
        axes_dims_rope=(4, 6, 6),
    ).eval()


def call_unet(unet, rows=2, tokens=6, seed=1):
    g = torch.Generator().manual_seed(seed)
    latents = torch.randn(rows, 4, 8, 8, generator=g)
    text = torch.randn(rows, tokens, 12, generator=g)
    return lambda x=latents: unet(x, 500, encoder_hidden_states=text).sample


def call_sd3(transformer, rows=2, tokens=6, seed=1):
    g = torch.Generator().manual_seed(seed)
    latents = torch.randn(rows, 4, 8, 8, generator=g)
    text, pooled = torch.randn(rows, tokens, 12, generator=g), torch.randn(rows, 10, generator=g)
    time = torch.full((rows,), 500.0)
    return lambda x=latents: (
        transformer(x, encoder_hidden_states=text, pooled_projections=pooled, timestep=time).sample
    )


def call_flux(transformer, rows=2, tokens=6, seed=1):
    g = torch.Generator().manual_seed(seed)
    packed = torch.randn(rows, 16, 16, generator=g)
    text, pooled = torch.randn(rows, tokens, 12, generator=g), torch.randn(rows, 10, generator=g)
    ids = torch.stack(
        torch.meshgrid(*[torch.arange(n).float() for n in (1, 4, 4)], indexing="ij"), -1
    )
    return lambda x=packed: (
        transformer(
            x,
            encoder_hidden_states=text,
            pooled_projections=pooled,
            timestep=torch.full((rows,), 0.5),
            img_ids=ids.reshape(-1, 3),
            txt_ids=torch.zeros(tokens, 3),
        ).sample
    )


def tiny_scorer(folder, seed=0):
    """A folder in open_clip's layout: the bundled scorer's tokenizer, another architecture, random weights."""
    bundled = Path("data/models/scenes-clip")
    shutil.copytree(bundled, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((bundled / "open_clip_config.json").read_text())
    model = config["model_cfg"] | {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 16,
            "head_width": 8,
            "patch_size": 8,
        },
    }
    model["text_cfg"] |= {"width": 16, "heads": 2, "layers": 1}
    config |= {"model_cfg": model, "preprocess_cfg": config["preprocess_cfg"] | {"size": 32}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    parts = {k: v for k, v in model["text_cfg"].items() if k != "hf_tokenizer_name"}
    weights = open_clip.CLIP(model["embed_dim"], model["vision_cfg"], parts).state_dict()
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


MODELS = {
    "unet": (tiny_unet, call_unet),
    "sd3": (tiny_sd3, call_sd3),
    "flux": (tiny_flux, call_flux),
}
