"""The demo's two denoisers: a UNet that predicts noise, a transformer that predicts velocity."""

import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from pipeline.demo.corpus import batch_indices
from pipeline.demo.text import WIDTH
from pipeline.demo.training import Stage

TRAIN_TIMESTEPS = 1000
BETAS = {"beta_start": 0.00085, "beta_end": 0.012}
SNR_CAP = 5.0
VELOCITY_CAP = 30.0
CAPTION_DROPOUT = 0.1
SHORT_SHARE = 0.25


def build_unet(channels: tuple[int, int] = (64, 128)) -> UNet2DConditionModel:
    """An untrained UNet for 16 x 16 latents with cross-attention at both resolutions."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_transformer(layers: int = 6, heads: int = 6) -> SD3Transformer2DModel:
    """An untrained multimodal diffusion transformer for 16 x 16 latents.

    Its modulations and output start at zero, so that each block starts as the identity (Peebles and
    Xie 2023, arXiv 2212.09748).
    """
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=layers,
        attention_head_dim=32,
        num_attention_heads=heads,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=32 * heads,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    modulations = [transformer.norm_out.linear, transformer.proj_out]
    for block in transformer.transformer_blocks:
        modulations += [block.norm1.linear, block.norm1_context.linear]
    for layer in modulations:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return transformer


class UNetModel(nn.Module):
    """A UNet with the text encoder that is trained with it."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet.to(memory_format=torch.channels_last)
        self.text_encoder = text_encoder

    def forward(
        self,
        latents: Float[Tensor, "n c h w"],
        timesteps: Int[Tensor, " n"],
        tokens: Int[Tensor, "n token"],
    ) -> Float[Tensor, "n c h w"]:
        """The predicted noise."""
        text = self.text_encoder(tokens).last_hidden_state
        return self.unet(latents, timesteps, encoder_hidden_states=text).sample


class TransformerModel(nn.Module):
    """A transformer with its two text encoders, called as `StableDiffusion3Pipeline` calls them."""

    def __init__(
        self,
        transformer: SD3Transformer2DModel,
        text_encoder: CLIPTextModelWithProjection,
        text_encoder_2: CLIPTextModelWithProjection,
    ) -> None:
        super().__init__()
        self.transformer = transformer
        self.text_encoder = text_encoder
        self.text_encoder_2 = text_encoder_2

    def forward(
        self,
        latents: Float[Tensor, "n c h w"],
        timesteps: Float[Tensor, " n"],
        tokens: Int[Tensor, "n token"],
    ) -> Float[Tensor, "n c h w"]:
        """The predicted velocity, from data to noise.

        The one zero token at the end is what the pipeline puts in place of a missing T5.
        """
        encoded = [
            encoder(tokens, output_hidden_states=True)
            for encoder in (self.text_encoder, self.text_encoder_2)
        ]
        text = torch.cat([out.hidden_states[-2] for out in encoded], dim=-1)
        text = nn.functional.pad(text, (0, 0, 0, 1))
        pooled = torch.cat([out.text_embeds for out in encoded], dim=-1)
        return self.transformer(
            latents, timestep=timesteps, encoder_hidden_states=text, pooled_projections=pooled
        ).sample


def alphas_cumprod() -> Float[Tensor, " timestep"]:
    """The signal's share of the variance at each timestep (scaled-linear betas)."""
    start, end = BETAS["beta_start"] ** 0.5, BETAS["beta_end"] ** 0.5
    betas = torch.linspace(start, end, TRAIN_TIMESTEPS, dtype=torch.float64).square()
    return (1 - betas).cumprod(0).float()


def unet_stage(
    model: UNetModel,
    latents: Float[Tensor, "n c h w"],
    tokens: Int[Tensor, "n token"],
    empty: Int[Tensor, " token"],
    *,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
) -> Stage:
    """Noise prediction, weighted by min(snr, 5) / snr (Hang et al. 2023, arXiv 2303.09556).

    Args:
        model: what to train; its UNet is given attention whose backward pass is fast in bfloat16.
        latents: scaled to unit standard deviation.
        tokens: the captions.
        empty: the tokens of the empty caption, for classifier-free guidance.
        batch_size: scenes a step.
        learning_rate: the peak.
    """
    model.unet.set_attn_processor(AttnProcessor())
    alphas = alphas_cumprod()

    def loss(step: int, generator: torch.Generator) -> Tensor:
        clean, text = _draw(latents, tokens, empty, batch_size, generator)
        timesteps = (spread(batch_size, generator) * TRAIN_TIMESTEPS).long()
        alpha = alphas[timesteps].view(-1, 1, 1, 1)
        noise = torch.randn(clean.shape, generator=generator)
        noisy = (alpha.sqrt() * clean + (1 - alpha).sqrt() * noise).contiguous(
            memory_format=torch.channels_last
        )
        with sdpa_kernel(SDPBackend.MATH):
            predicted = model(noisy, timesteps, text).float()
        snr = alpha / (1 - alpha)
        return (snr.clamp(max=SNR_CAP) / snr * (predicted - noise).square()).mean()

    return Stage("unet", model, loss, learning_rate, keep_at=(SHORT_SHARE,))


def relations_stage(
    model: UNetModel,
    latents: Float[Tensor, "n c h w"],
    tokens: Int[Tensor, "n token"],
    empty: Int[Tensor, " token"],
    *,
    batch_size: int = 16,
    learning_rate: float = 6e-4,
) -> Stage:
    """Noise prediction again, mostly at the noisy timesteps, where the layout is decided.

    There an error in the noise hides a large error in the picture, so that a UNet draws both
    objects long before it draws them in their places. Three timesteps in four are noisier than the
    middle one, and the weight is that of `unet_stage` times (snr + 1) / snr, at most 30, which turns
    an error in the noise into one in the velocity (Salimans and Ho 2022, arXiv 2202.00512).
    The text encoder is not trained: while a UNet ignores the order of two objects, training it
    through the UNet makes it forget that order.
    """
    model.text_encoder.requires_grad_(False)
    model.unet.set_attn_processor(AttnProcessor())
    alphas = alphas_cumprod()
    noisy_count = 3 * batch_size // 4

    def loss(step: int, generator: torch.Generator) -> Tensor:
        clean, text = _draw(latents, tokens, empty, batch_size, generator)
        noisier = 0.5 + 0.5 * spread(noisy_count, generator)
        uniform = spread(batch_size - noisy_count, generator)
        timesteps = (torch.cat([noisier, uniform]) * TRAIN_TIMESTEPS).long()
        alpha = alphas[timesteps].view(-1, 1, 1, 1)
        noise = torch.randn(clean.shape, generator=generator)
        noisy = (alpha.sqrt() * clean + (1 - alpha).sqrt() * noise).contiguous(
            memory_format=torch.channels_last
        )
        with sdpa_kernel(SDPBackend.MATH):
            predicted = model(noisy, timesteps, text).float()
        snr = alpha / (1 - alpha)
        weight = snr.clamp(max=SNR_CAP) / snr * ((snr + 1) / snr).clamp(max=VELOCITY_CAP)
        return (weight * (predicted - noise).square()).mean()

    return Stage("relations", model, loss, learning_rate, ema_decay=0.998)


def transformer_stage(
    model: TransformerModel,
    latents: Float[Tensor, "n c h w"],
    tokens: Int[Tensor, "n token"],
    empty: Int[Tensor, " token"],
    *,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
) -> Stage:
    """Flow matching with logit-normal times (Esser et al. 2024, arXiv 2403.03206).

    The arguments are those of `unet_stage`; the latents are also shifted to zero mean.
    """

    def loss(step: int, generator: torch.Generator) -> Tensor:
        clean, text = _draw(latents, tokens, empty, batch_size, generator)
        sigma = torch.special.ndtri(spread(batch_size, generator)).sigmoid()
        noise = torch.randn(clean.shape, generator=generator)
        share = sigma.view(-1, 1, 1, 1)
        noisy = (1 - share) * clean + share * noise
        with sdpa_kernel(SDPBackend.MATH):
            velocity = model(noisy, sigma * TRAIN_TIMESTEPS, text).float()
        return (velocity - (noise - clean)).square().mean()

    return Stage("dit", model, loss, learning_rate)


def spread(count: int, generator: torch.Generator) -> Float[Tensor, " count"]:
    """Numbers in (0, 1), one in each of `count` equal parts: uniform, with less variance.

    Source: after the low-discrepancy timesteps of Kingma et al. 2021 (arXiv 2107.00630).
    """
    jitter = torch.rand(count, generator=generator).clamp(1e-4, 1 - 1e-4)
    return (torch.arange(count) + jitter) / count


def _draw(
    latents: Float[Tensor, "n c h w"],
    tokens: Int[Tensor, "n token"],
    empty: Int[Tensor, " token"],
    batch_size: int,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "b c h w"], Int[Tensor, "b token"]]:
    """A batch of latents and captions, one caption in ten emptied."""
    indices = batch_indices(len(latents), batch_size, generator)
    dropped = torch.rand(batch_size, 1, generator=generator) < CAPTION_DROPOUT
    return latents[indices].float(), torch.where(dropped, empty, tokens[indices])
