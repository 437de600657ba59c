"""Tiny pipelines of every supported diffusers class, with random weights, saved as a user's folder would be.

Each builder returns a pipeline; `folder_of` saves it once per test session. Nothing is downloaded.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers as d
import torch
from transformers import (
    CLIPImageProcessor,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from tests.support.tiny_kolors import KOLORS
from tests.support.tiny_parts import (
    BETAS,
    clip_text,
    clip_tokenizer,
    ddim,
    gemma,
    gemma_tokenizer,
    t5,
    t5_tokenizer,
    unet,
    vae,
)
from tests.support.tiny_prx import prx
from tests.support.tiny_today import TODAY

LABELS = {0: "dog, hound", 1: "cat", 2: "rocket"}


def stable_diffusion(**scheduler: Any) -> Any:
    return d.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        unet=unet(),
        scheduler=ddim(**scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd_v() -> Any:
    return stable_diffusion(prediction_type="v_prediction")


def sd_turbo() -> Any:
    pipeline = stable_diffusion()
    pipeline.scheduler = d.EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing")
    return pipeline


def sdxl() -> Any:
    return d.StableDiffusionXLPipeline(
        vae=vae(
            force_upcast=False, latents_mean=[0.1, 0.2, -0.1, 0.0], latents_std=[1.1, 0.9, 1.0, 1.2]
        ),
        text_encoder=clip_text(),
        text_encoder_2=clip_text(CLIPTextModelWithProjection, 24),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet(
            cross=40,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24 + 6 * 8,
            transformer_layers_per_block=(1, 2),
            use_linear_projection=True,
        ),
        scheduler=d.EulerDiscreteScheduler(**BETAS),
    )


def sd_pag() -> Any:
    parts = stable_diffusion(set_alpha_to_one=True).components
    return d.StableDiffusionPAGPipeline(**parts, requires_safety_checker=False)


def sdxl_pag() -> Any:
    return d.StableDiffusionXLPAGPipeline(**sdxl().components)


def lcm() -> Any:
    return d.LatentConsistencyModelPipeline(
        vae=vae(),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        unet=unet(time_cond_proj_dim=32),
        scheduler=d.LCMScheduler(**BETAS, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sd3(encoder_3: bool = True, **options: Any) -> Any:
    sizes = {
        "sample_size": 16,
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 16,
        "num_layers": 2,
        "attention_head_dim": 8,
        "num_attention_heads": 2,
        "joint_attention_dim": 32,
        "caption_projection_dim": 16,
        "pooled_projection_dim": 32,
        "pos_embed_max_size": 16,
    }
    return d.StableDiffusion3Pipeline(
        transformer=d.SD3Transformer2DModel(**sizes | options),
        vae=vae(
            16,
            scaling_factor=1.5,
            shift_factor=0.06,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=clip_text(CLIPTextModelWithProjection),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_text(CLIPTextModelWithProjection),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5(width=32) if encoder_3 else None,
        tokenizer_3=t5_tokenizer() if encoder_3 else None,
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def sd35() -> Any:
    return sd3(qk_norm="rms_norm", dual_attention_layers=(0,))


def sd3_pag() -> Any:
    """Its second layer of three is perturbed: diffusers' default, which no folder changes."""
    left_out = ("image_encoder", "feature_extractor")
    parts = {k: part for k, part in sd3(num_layers=3).components.items() if k not in left_out}
    return d.StableDiffusion3PAGPipeline(**parts)


def aura_flow() -> Any:
    return d.AuraFlowPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5("umt5"),
        vae=vae(shift_factor=0.3),  # which AuraFlow leaves out
        transformer=d.AuraFlowTransformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            out_channels=4,
            num_mmdit_layers=1,
            num_single_dit_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=16,
            caption_projection_dim=16,
            pos_embed_max_size=1024,
        ),
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=1.73),
    )


def flux(guidance_embeds: bool = True, dynamic: bool = True) -> Any:
    return d.FluxPipeline(
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=dynamic),
        vae=vae(
            4,
            scaling_factor=0.36,
            shift_factor=0.11,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
        transformer=d.FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            pooled_projection_dim=16,
            axes_dims_rope=(4, 6, 6),
            guidance_embeds=guidance_embeds,
        ),
    )


def flux_schnell() -> Any:
    return flux(guidance_embeds=False, dynamic=False)


def pixart(kind: Any = d.PixArtAlphaPipeline) -> Any:
    return kind(
        tokenizer=t5_tokenizer(),
        text_encoder=t5(),
        vae=vae(),
        transformer=d.PixArtTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            cross_attention_dim=16,
            sample_size=16,
            patch_size=2,
            caption_channels=16,
            use_additional_conditions=False,
        ),
        scheduler=d.DPMSolverMultistepScheduler(**BETAS),
    )


def pixart_sigma() -> Any:
    return pixart(d.PixArtSigmaPipeline)


def sana() -> Any:
    return d.SanaPipeline(
        tokenizer=gemma_tokenizer(),
        text_encoder=gemma(),
        vae=d.AutoencoderDC(
            latent_channels=8,
            attention_head_dim=2,
            encoder_block_types=("ResBlock", "EfficientViTBlock"),
            decoder_block_types=("ResBlock", "EfficientViTBlock"),
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            encoder_qkv_multiscales=((), (5,)),
            decoder_qkv_multiscales=((), (5,)),
            encoder_layers_per_block=(1, 1),
            decoder_layers_per_block=(1, 1),
            downsample_block_type="conv",
            upsample_block_type="interpolate",
            decoder_norm_types="rms_norm",
            decoder_act_fns="silu",
            scaling_factor=0.41407,
        ),
        transformer=d.SanaTransformer2DModel(
            patch_size=1,
            in_channels=8,
            out_channels=8,
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=8,
            num_cross_attention_heads=2,
            cross_attention_head_dim=8,
            cross_attention_dim=16,
            caption_channels=16,
            sample_size=8,
        ),
        scheduler=d.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


def sana_sprint() -> Any:
    """A scheduler whose timesteps are angles."""
    parts = sana().components
    sizes = {k: v for k, v in parts["transformer"].config.items() if not k.startswith("_")}
    sizes |= {"guidance_embeds": True, "qk_norm": "rms_norm_across_heads"}
    transformer = d.SanaTransformer2DModel(**sizes)
    return d.SanaSprintPipeline(
        **parts | {"transformer": transformer, "scheduler": d.SCMScheduler()}
    )


def kandinsky() -> Any:
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    prior = d.PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        embedding_dim=16,
        num_embeddings=tokenizer.model_max_length,
    )
    prior.clip_std.data = torch.ones_like(prior.clip_std)  # zeros before training
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=8, projection_dim=16,
    )  # fmt: skip
    return d.KandinskyV22CombinedPipeline(
        unet=d.UNet2DConditionModel(
            in_channels=4,
            out_channels=8,
            sample_size=16,
            addition_embed_type="image",
            encoder_hid_dim=16,
            encoder_hid_dim_type="image_proj",
            cross_attention_dim=16,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            resnet_time_scale_shift="scale_shift",
            attention_head_dim=4,
            norm_num_groups=4,
        ),
        scheduler=d.DDPMScheduler(**BETAS, variance_type="learned_range", clip_sample=False),
        movq=d.VQModel(
            block_out_channels=(32, 32),
            down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
            latent_channels=4,
            norm_num_groups=8,
            norm_type="spatial",
            num_vq_embeddings=12,
            vq_embed_dim=4,
        ),
        prior_prior=prior,
        prior_image_encoder=CLIPVisionModelWithProjection(vision),
        prior_text_encoder=clip_text(CLIPTextModelWithProjection),
        prior_tokenizer=tokenizer,
        prior_scheduler=d.UnCLIPScheduler(
            variance_type="fixed_small_log", prediction_type="sample", num_train_timesteps=1000
        ),
        prior_image_processor=CLIPImageProcessor(size=32, crop_size=32),
    )


def dit() -> Any:
    return d.DiTPipeline(
        transformer=d.DiTTransformer2DModel(
            sample_size=16,
            patch_size=2,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=8,
        ),
        vae=vae(),
        scheduler=d.DDIMScheduler(clip_sample=False),
        id2label=LABELS,
    )


def ddpm() -> Any:
    model = d.UNet2DModel(
        sample_size=32,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=4,
    )
    return d.DDPMPipeline(unet=model, scheduler=d.DDPMScheduler())


def deep_floyd() -> Any:
    """A class that is not in the table of families: pixel space, T5, added keys."""
    return d.IFPipeline(
        tokenizer=t5_tokenizer(),
        text_encoder=t5(),
        unet=d.UNet2DConditionModel(
            in_channels=3,
            out_channels=6,
            sample_size=32,
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            cross_attention_dim=16,
            encoder_hid_dim=16,
            addition_embed_type="text",
            addition_embed_type_num_heads=2,
            attention_head_dim=4,
            norm_num_groups=4,
            resnet_time_scale_shift="scale_shift",
            act_fn="gelu",
        ),
        scheduler=d.DDPMScheduler(variance_type="learned_range", clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        watermarker=None,
        requires_safety_checker=False,
    )


BUILDERS: dict[str, Callable[[], Any]] = {
    "sd-epsilon": stable_diffusion,
    "sd-v": sd_v,
    "sd-turbo": sd_turbo,
    "sdxl": sdxl,
    "lcm": lcm,
    "sd3": sd3,
    "sd3-no-t5": functools.partial(sd3, encoder_3=False),
    "sd35": sd35,
    "auraflow": aura_flow,
    "flux-dev": flux,
    "flux-schnell": flux_schnell,
    "pixart-alpha": pixart,
    "pixart-sigma": pixart_sigma,
    "sana": sana,
    "kandinsky22": kandinsky,
    "dit": dit,
    "ddpm": ddpm,
    **TODAY,
    "sd-pag": sd_pag,
    "sdxl-pag": sdxl_pag,
    "sd3-pag": sd3_pag,
    "sana-sprint": sana_sprint,
    "prx": prx,
    **KOLORS,
    "unknown": deep_floyd,
}


def spread(pipeline: Any) -> Any:
    """Weights that are made as zeros (the last layers of transformers) get noise, so that outputs say something."""
    generator = torch.Generator().manual_seed(1)
    for name, module in pipeline.components.items():
        if isinstance(module, torch.nn.Module) and name in ("unet", "transformer"):
            for parameter in module.parameters():
                if not parameter.detach().any():
                    parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    return pipeline


def build(name: str, seed: int = 0) -> Any:
    """A pipeline of that family with random weights."""
    torch.manual_seed(seed)
    return spread(BUILDERS[name]())


def folder_of(name: str, root: Path) -> Path:
    """The family's pipeline, saved under `root` as a user's folder; built once."""
    folder = root / name
    if not folder.is_dir():
        build(name).save_pretrained(folder, safe_serialization=True)
        if name == "dit":  # as facebook/DiT-XL-2-256 has it
            index = json.loads((folder / "model_index.json").read_text())
            labels = {str(number): names for number, names in LABELS.items()}
            (folder / "model_index.json").write_text(json.dumps(index | {"id2label": labels}))
    return folder
