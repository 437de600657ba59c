"""The demo's autoencoder: 64 x 64 pixels to 16 x 16 latents of 4 channels."""

import math

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from pipeline.demo.corpus import Corpus, batch_indices
from pipeline.demo.training import Stage

KL_WEIGHT = 1e-4


def build_autoencoder(channels: tuple[int, ...] = (16, 32, 64)) -> AutoencoderKL:
    """An untrained autoencoder with one residual block per level and no attention."""
    levels = len(channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
        use_quant_conv=True,
        use_post_quant_conv=True,
    )


def autoencoder_stage(
    autoencoder: AutoencoderKL, corpus: Corpus, *, batch_size: int = 16, learning_rate: float = 2e-3
) -> Stage:
    """Absolute plus squared error of the reconstruction, and a slight pull towards N(0, 1)."""

    def loss(step: int, generator: torch.Generator) -> Tensor:
        pixels = corpus.pixels(batch_indices(len(corpus.scenes), batch_size, generator))
        posterior = autoencoder.encode(pixels).latent_dist
        decoded = autoencoder.decode(posterior.sample(generator)).sample.float()
        error = decoded - pixels
        divergence = posterior.kl().sum() / posterior.mean.numel()
        return error.abs().mean() + error.square().mean() + KL_WEIGHT * divergence

    return Stage("autoencoder", autoencoder, loss, learning_rate, ema_decay=0.998, weight_decay=0.0)


@torch.no_grad()
def encode(
    autoencoder: AutoencoderKL, corpus: Corpus, batch_size: int = 64
) -> Float[Tensor, "n 4 h w"]:
    """The mean latents of every picture, before scaling."""
    batches = torch.arange(len(corpus.scenes)).split(batch_size)
    with torch.autocast("cpu", torch.bfloat16):
        latents = [autoencoder.encode(corpus.pixels(batch)).latent_dist.mean for batch in batches]
    return torch.cat(latents).float()


@torch.no_grad()
def reconstruction_psnr(
    autoencoder: AutoencoderKL, corpus: Corpus, batch_size: int = 64
) -> Float[Tensor, " n"]:
    """The peak signal-to-noise ratio of each reconstruction, in dB for pixels in [0, 1]."""
    ratios = []
    for batch in torch.arange(len(corpus.scenes)).split(batch_size):
        pixels = corpus.pixels(batch)
        decoded = autoencoder.decode(autoencoder.encode(pixels).latent_dist.mean).sample
        error = (decoded.clamp(-1, 1) - pixels).square().mean((1, 2, 3)) / 4
        ratios.append(-10 / math.log(10) * error.log())
    return torch.cat(ratios)
