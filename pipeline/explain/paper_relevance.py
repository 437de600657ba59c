"""Relevance as the paper's code has it: through the text encoder, on one grid, of both halves of the guidance.

Source: Park et al. 2024 (arXiv 2402.10404); Chefer et al. 2021 (arXiv 2103.15679), equations 5-11.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from pipeline.diffusion.denoiser import Denoiser
from pipeline.diffusion.watch import Batch, StepView
from pipeline.errors import ModelError
from pipeline.explain.attention import AttentionLayer, attention_layers, grid_of
from pipeline.explain.relevance import AttentionGradient, attention_gradients, normalised

CONTEXT = "encoder_hidden_states"


def paper_relevance(view: StepView, item: int) -> Float[Tensor, "token h w"]:
    """Relevance of every text token of one item to every image position, on the denoiser's finest grid.

    The target is the raw sum of both halves. R_ii and R_qq begin as the identity, R_iq as 0. The text encoder's layers:
    R_qq += A R_qq; self-attention of the image: R_ii += A R_ii, R_iq += A R_iq; cross-attention: R_iq += norm(R_ii)^T A
    norm(R_qq). Each half's R_iq has unit length over the tokens at each position; the two are averaged.

    Returns: [0, 1]; larger = more relevant.

    Raises:
        ModelError: the denoiser attends to something else than what the text encoder gives.
    """
    pipeline, denoiser = view.batch.pipeline, view.denoiser
    layers = [*encoder_layers(pipeline.text_encoder), *attention_layers(denoiser.module)]
    records = attention_gradients(forward_of_both(view.batch, denoiser, item), layers)
    size = (view.latents.shape[-2], view.latents.shape[-1])
    halves = split_halves(records, denoiser.halves)
    return torch.stack([half_relevance(half, size) for half in halves]).mean(0)


def encoder_layers(encoder: nn.Module) -> list[AttentionLayer]:
    """The self-attention layers of a CLIP text encoder, first to last."""
    return [
        AttentionLayer(name, "text", "text", module)
        for name, module in encoder.named_modules()
        if type(module).__name__ == "CLIPAttention"
    ]


def forward_of_both(batch: Batch, denoiser: Denoiser, item: int) -> Callable[[], Tensor]:
    """Encodes one item's prompts and predicts its noise, both halves as they are."""
    latents = denoiser.latents[item : item + 1].detach()

    def forward() -> Tensor:
        context = denoiser.kwargs[CONTEXT].detach().clone()
        for half, embedding in enumerate(_encoded(batch, denoiser, item)):
            row = half * denoiser.batch + item
            if not torch.allclose(embedding[0].to(context), context[row], atol=1e-2, rtol=1e-2):
                raise ModelError(
                    "relevance under the paper's protocol follows the text encoder, and this denoiser attends to something "
                    'else than what its text encoder gives. Leave relevance out, or take protocol = "ours".'
                )
            context = context.index_copy(
                0, torch.tensor([row], device=context.device), embedding.to(context)
            )
        replayed = replace(denoiser, kwargs={**denoiser.kwargs, CONTEXT: context})
        return torch.cat([h for h in replayed.halves_of(latents, item) if h is not None])

    return forward


def _encoded(batch: Batch, denoiser: Denoiser, item: int) -> list[Float[Tensor, "1 token d"]]:
    """What the pipeline's own encoder makes of an item's prompts, in the order of the call's halves."""
    guided = denoiser.halves == 2
    positive, negative = batch.pipeline.encode_prompt(
        [batch.prompts[item].text],
        denoiser.latents.device,
        1,
        guided,
        [batch.negative_prompt] if guided else None,
    )
    return [negative, positive] if guided else [positive]


def split_halves(
    records: Sequence[AttentionGradient], halves: int
) -> list[list[AttentionGradient]]:
    """Each half's own records: the encoder runs once for each prompt, the denoiser once for both halves.

    The pipeline encodes the prompt first and the negative prompt second; the denoiser has the negative half first.
    """
    text = [record for record in records if record.kind == "text"]
    image = [record for record in records if record.kind != "text"]
    each = len(text) // halves
    encoded = [text[each * call : each * (call + 1)] for call in reversed(range(halves))]
    return [
        [*encoded[half], *(replace(r, averaged=r.averaged[half : half + 1]) for r in image)]
        for half in range(halves)
    ]


def half_relevance(
    records: Sequence[AttentionGradient], size: tuple[int, int]
) -> Float[Tensor, "token h w"]:
    """R_iq of one half, of unit length over the tokens at each position.

    Args:
        records: of the text encoder and the denoiser, in the order of the calls, one item each.
        size: of the latents.
    """
    grids = [grid_of(r.averaged.shape[1], *size) for r in records if r.kind != "text"]
    finest = max(grids, key=lambda grid: grid[0] * grid[1])
    tokens = next(r.averaged.shape[2] for r in records if r.kind == "cross")
    like = records[0].averaged
    image = torch.eye(finest[0] * finest[1], device=like.device)[None]
    text = torch.eye(tokens, device=like.device)[None]
    relevance = image.new_zeros(1, image.shape[1], tokens)
    for record in records:
        if record.kind == "text":
            text = text + record.averaged @ text
            continue
        averaged = on_grid(record, grid_of(record.averaged.shape[1], *size), finest)
        if record.kind == "self":
            image, relevance = image + averaged @ image, relevance + averaged @ relevance
        else:
            relevance = relevance + normalised(image).transpose(1, 2) @ averaged @ normalised(text)
    directions = torch.nn.functional.normalize(relevance[0], dim=1)
    return directions.T.unflatten(1, finest)


def on_grid(
    record: AttentionGradient, grid: tuple[int, int], finest: tuple[int, int]
) -> Float[Tensor, "1 query key"]:
    """A layer's attention on a finer grid: each position takes its coarse one's row, and a share of its column."""
    coarse = _coarse_places(grid, finest).to(record.averaged.device)
    rows = record.averaged[:, coarse]
    if record.kind != "self":
        return rows
    share = torch.bincount(coarse, minlength=grid[0] * grid[1])[coarse]
    return rows[:, :, coarse] / share


def _coarse_places(grid: tuple[int, int], finest: tuple[int, int]) -> Int[Tensor, " position"]:
    rows, columns = (
        torch.arange(fine) * coarse // fine for coarse, fine in zip(grid, finest, strict=True)
    )
    return (rows[:, None] * grid[1] + columns[None]).flatten()
