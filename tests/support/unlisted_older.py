"""Tiny pipelines with random weights, of the older classes of diffusers' mapping that the table of families lacks."""

from __future__ import annotations

from typing import Any

import diffusers as d
from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel
from diffusers.pipelines.deprecated.wuerstchen.modeling_wuerstchen_diffnext import (
    WuerstchenDiffNeXt,
)
from diffusers.pipelines.deprecated.wuerstchen.modeling_wuerstchen_prior import WuerstchenPrior
from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP
from transformers import CLIPTextModelWithProjection

from tests.support.tiny_parts import (
    BETAS,
    clip_text,
    clip_tokenizer,
    ddim,
    t5,
    t5_tokenizer,
    unet,
    vae,
)
from tests.support.tiny_pipelines import build
from tests.support.unlisted_parts import bert, bert_tokenizer, movq, vae8, xlm_tokenizer


def sana_pag() -> Any:
    return d.SanaPAGPipeline(**build("sana").components)


def pixart_sigma_pag() -> Any:
    return d.PixArtSigmaPAGPipeline(**build("pixart-sigma").components)


def hunyuan_dit(kind: Any = d.HunyuanDiTPipeline, **options: Any) -> Any:
    """A learned variance; a list of resolutions."""
    return kind(
        transformer=d.HunyuanDiT2DModel(
            sample_size=16, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, in_channels=4,
            cross_attention_dim=16, cross_attention_dim_t5=16, pooled_projection_dim=16, hidden_size=24,
            activation_fn="gelu-approximate", text_len_t5=256,
        ),
        vae=vae8(),
        text_encoder=bert(),
        tokenizer=bert_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(),
        scheduler=d.DDPMScheduler(**BETAS, prediction_type="v_prediction", clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **options,
    )  # fmt: skip


def hunyuan_dit_pag() -> Any:
    return hunyuan_dit(d.HunyuanDiTPAGPipeline, pag_applied_layers="blocks.1")


def kandinsky3() -> Any:
    """A decoder that leaves its codebook out."""
    return d.Kandinsky3Pipeline(
        unet=d.Kandinsky3UNet(
            in_channels=4, time_embedding_dim=4, groups=2, attention_head_dim=4, layers_per_block=3,
            block_out_channels=(32, 64), cross_attention_dim=4, encoder_hid_dim=16,
        ),
        movq=movq(levels=4),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
        scheduler=d.DDPMScheduler(**BETAS | {"beta_schedule": "squaredcos_cap_v2"}, clip_sample=True),
    )  # fmt: skip


def cogview3() -> Any:
    """A scheduler made for videos."""
    return d.CogView3PlusPipeline(
        transformer=d.CogView3PlusTransformer2DModel(
            patch_size=2, in_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=2, out_channels=4,
            text_embed_dim=16, time_embed_dim=8, condition_dim=2, pos_embed_max_size=16, sample_size=16,
        ),
        vae=vae(),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
        scheduler=d.CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing", snr_shift_scale=4.0),
    )  # fmt: skip


def mclip() -> MultilingualCLIP:
    config = MCLIPConfig(
        numDims=16, transformerDimensions=16, hidden_size=16, intermediate_size=32, num_attention_heads=2,
        num_hidden_layers=1, vocab_size=len(xlm_tokenizer()), max_position_embeddings=128,
    )  # fmt: skip
    return MultilingualCLIP(config)


def kandinsky21() -> Any:
    """A loop in a part of the pipeline; a text encoder of the pipeline's own module."""
    prior = {
        name: part for name, part in build("kandinsky22").components.items() if "prior" in name
    }
    return d.KandinskyCombinedPipeline(
        **prior,
        unet=unet(
            out_channels=8, addition_embed_type="text_image", encoder_hid_dim=16, encoder_hid_dim_type="text_image_proj",
            down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
            up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn", resnet_time_scale_shift="scale_shift", attention_head_dim=4,
        ),
        movq=movq(),
        text_encoder=mclip(),
        tokenizer=xlm_tokenizer(),
        scheduler=ddim(set_alpha_to_one=True),
    )  # fmt: skip


def cascade() -> Any:
    """A scheduler of its own; a prior and a decoder."""
    blocks = ("SDCascadeResBlock", "SDCascadeTimestepBlock")
    prior = d.StableCascadeUNet(
        conditioning_dim=16, block_out_channels=(16, 16), num_attention_heads=(2, 2), down_num_layers_per_block=(1, 1),
        up_num_layers_per_block=(1, 1), clip_image_in_channels=16, switch_level=(False,), clip_text_in_channels=16,
        clip_text_pooled_in_channels=16,
    )  # fmt: skip
    decoder = d.StableCascadeUNet(
        in_channels=4, out_channels=4, conditioning_dim=16, block_out_channels=(8, 16), num_attention_heads=(-1, 1),
        down_num_layers_per_block=(1, 1), up_num_layers_per_block=(1, 1), down_blocks_repeat_mappers=(1, 1),
        up_blocks_repeat_mappers=(1, 1), block_types_per_layer=(blocks, blocks), switch_level=None,
        clip_text_pooled_in_channels=16,
    )  # fmt: skip
    return d.StableCascadeCombinedPipeline(
        tokenizer=clip_tokenizer(),
        text_encoder=clip_text(CLIPTextModelWithProjection),
        decoder=decoder,
        scheduler=d.DDPMWuerstchenScheduler(),
        vqgan=PaellaVQModel(bottleneck_blocks=1, num_vq_embeddings=2),
        prior_prior=prior,
        prior_text_encoder=clip_text(CLIPTextModelWithProjection),
        prior_tokenizer=clip_tokenizer(),
        prior_scheduler=d.DDPMWuerstchenScheduler(),
    )


def wuerstchen() -> Any:
    """The same, in three stages."""
    return d.WuerstchenCombinedPipeline(
        tokenizer=clip_tokenizer(),
        text_encoder=clip_text(),
        decoder=WuerstchenDiffNeXt(
            c_cond=16, c_hidden=[16, 16, 16, 16], nhead=[-1, 2, 2, 2], blocks=[1, 1, 1, 1],
            level_config=["CT", "CTA", "CTA", "CTA"], inject_effnet=[False, True, True, True], effnet_embd=16, clip_embd=16,
        ),
        scheduler=d.DDPMWuerstchenScheduler(),
        vqgan=PaellaVQModel(bottleneck_blocks=1, num_vq_embeddings=2),
        prior_tokenizer=clip_tokenizer(),
        prior_text_encoder=clip_text(),
        prior_prior=WuerstchenPrior(c_in=16, c=16, c_cond=16, c_r=8, depth=1, nhead=2),
        prior_scheduler=d.DDPMWuerstchenScheduler(),
    )  # fmt: skip


OLDER = {
    "kandinsky21": (kandinsky21, "KandinskyCombinedPipeline"),
    "kandinsky3": (kandinsky3, "Kandinsky3Pipeline"),
    "cascade": (cascade, "StableCascadeCombinedPipeline"),
    "wuerstchen": (wuerstchen, "WuerstchenCombinedPipeline"),
    "sana_pag": (sana_pag, "SanaPAGPipeline"),
    "pixart_sigma_pag": (pixart_sigma_pag, "PixArtSigmaPAGPipeline"),
    "hunyuan_dit": (hunyuan_dit, "HunyuanDiTPipeline"),
    "hunyuan_dit_pag": (hunyuan_dit_pag, "HunyuanDiTPAGPipeline"),
    "cogview3": (cogview3, "CogView3PlusPipeline"),
}
