"""Relevance of each word to a denoising step: attention weighted by its gradient, over all layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.explain.attention import AttentionCall, AttentionLayer, AttentionTap, grid_of
from pipeline.explain.maps import resize_map

WEIGHT = 1.0


@dataclass(frozen=True)
class AttentionGradient:
    """One layer's explicit attention of the conditional half, with its gradient.

    Attributes:
        kind: "self" (image to image), "text" (text to text), "cross" (image to text) or "joint" (both to both).
        image, text: where each stands among the keys of a joint layer.
        averaged: head mean of (gradient x attention)+, Chefer et al.'s equation 5.
        renewed: text tokens at the end that the next layer gets anew.
    """

    kind: str
    image: slice
    text: slice
    averaged: Float[Tensor, "b query key"]
    renewed: int = 0


def token_relevance(
    forward: Callable[[], Float[Tensor, "b c h w"]],
    layers: Sequence[AttentionLayer],
    size: tuple[int, int],
    halves: int = 1,
) -> Float[Tensor, "b token h w"]:
    """Relevance of every text token to every image position, for the whole denoiser.

    R_ii starts as the identity, R_iq as 0. Self-attention: R_ii += A R_ii, R_iq += A R_iq.
    Cross-attention: R_iq += norm(R_ii)^T A, the text's own R_qq staying the identity within the
    denoiser. Joint attention: R += A R on image and text together. A UNet has layers on several
    grids: each grid has its R_ii and R_iq, and the R_iq are added up on the finest one.

    Source: Chefer et al. 2021 (arXiv 2103.15679), equations 5-11, as used by Park et al. 2024.

    Args:
        forward: the target's tensor (its sum is explained), with gradients; calls the denoiser.
        layers: all attention layers of the denoiser (pipeline/explain/attention.py).
        size: of the latents.
        halves: 2 when unconditional items come first; only the conditional half is explained.

    Returns: at least 0; larger = more relevant; a scale of its own for every step.
    """
    records = scale_free(attention_gradients(forward, layers, halves))
    joint = any(record.kind == "joint" for record in records)
    relevance = joint_relevance(records) if joint else cross_relevance(records)
    finest = grid_of(max(relevance), *size)
    maps = [
        resize_map(one.transpose(1, 2).unflatten(2, grid_of(positions, *size)), finest)
        for positions, one in relevance.items()
    ]
    return torch.stack(maps).sum(0)


def attention_gradients(
    forward: Callable[[], Tensor], layers: Sequence[AttentionLayer], halves: int = 1
) -> list[AttentionGradient]:
    """Each attention call in order, computed explicitly so that the weights have a gradient."""
    calls: list[AttentionCall] = []
    weights: list[Tensor] = []

    def explicit(call: AttentionCall, model_output: Callable[[], Tensor]) -> Tensor:
        rows = call.query.shape[0] // halves
        mine = _last_rows(call, rows)
        weight = mine.weights()
        if not weight.requires_grad:  # nothing before it has a gradient
            weight.requires_grad_()
        output = weight.to(mine.value.dtype) @ mine.value
        calls.append(mine)
        weights.append(weight)
        if halves == 1:
            return output
        return torch.cat([_first_rows_output(call, rows), output])

    with torch.enable_grad(), AttentionTap(layers, explicit):
        target = forward().float().sum()
    gradients = torch.autograd.grad(target, weights, allow_unused=True)
    with torch.no_grad():
        return [
            _record(call, weight, gradient)
            for call, weight, gradient in zip(calls, weights, gradients, strict=True)
            if gradient is not None
        ]


def _last_rows(call: AttentionCall, rows: int) -> AttentionCall:
    mask = call.mask
    if mask is not None and mask.ndim == 4 and mask.shape[0] > 1:
        mask = mask[-rows:]
    key, value, query = call.key[-rows:], call.value[-rows:], call.query[-rows:]
    return replace(call, query=query, key=key, value=value, mask=mask)


def _first_rows_output(call: AttentionCall, rows: int) -> Tensor:
    mask = call.mask
    if mask is not None and mask.ndim == 4 and mask.shape[0] > 1:
        mask = mask[:-rows]
    return torch.nn.functional.scaled_dot_product_attention(
        call.query[:-rows], call.key[:-rows], call.value[:-rows], attn_mask=mask, scale=call.scale
    )


def _record(call: AttentionCall, weight: Tensor, gradient: Tensor) -> AttentionGradient:
    averaged = (gradient * weight).clamp(min=0).mean(1)
    kind = {"single": "joint"}.get(call.layer.kind, call.layer.kind)
    image, text = call.image_keys(), call.text_positions()
    return AttentionGradient(kind, image, text, averaged, call.spans.renewed if call.spans else 0)


def scale_free(records: Sequence[AttentionGradient]) -> list[AttentionGradient]:
    """The records in a scale that does not depend on the target's: each item's layers add WEIGHT to the identity.

    Relevance adds A to an identity, so that a larger target would count later layers more. A's mean row sums, added up
    over the layers, are brought to WEIGHT; the layers keep their proportions.
    """
    totals = torch.stack([record.averaged.sum(-1).mean(-1) for record in records]).sum(0)
    scale = torch.where(totals > 0, WEIGHT / totals, 0.0)
    return [replace(r, averaged=r.averaged * scale[:, None, None]) for r in records]


def cross_relevance(
    records: Sequence[AttentionGradient],
) -> dict[int, Float[Tensor, "b position token"]]:
    """R_iq for each grid (by its number of positions) of a denoiser with self- and cross-attention."""
    image: dict[int, Tensor] = {}
    text: dict[int, Tensor] = {}
    for record in records:
        averaged = record.averaged
        positions = averaged.shape[1]
        if positions not in image:
            image[positions] = _identity(averaged, positions)
        if record.kind == "self":
            image[positions] = image[positions] + averaged @ image[positions]
            if positions in text:
                text[positions] = text[positions] + averaged @ text[positions]
        else:
            update = normalised(image[positions]).transpose(1, 2) @ averaged
            text[positions] = text[positions] + update if positions in text else update
    return text


def joint_relevance(
    records: Sequence[AttentionGradient],
) -> dict[int, Float[Tensor, "b position token"]]:
    """The image-to-text block of R for joint attention; self-attention of the image joins in."""
    first = next(record for record in records if record.kind == "joint")
    total = first.averaged.shape[2]
    relevance = _identity(first.averaged, total)
    for record in records:
        if record.kind == "joint" and record.averaged.shape[1] == total:
            relevance = relevance + record.averaged @ relevance
        elif record.kind == "joint":  # image queries only
            relevance[:, first.image] += record.averaged @ relevance
        else:  # of the image alone, with padding behind it, or of the text alone
            begin = first.text if record.kind == "text" else first.image
            most = min(record.averaged.shape[1], total - begin.start)
            if record.kind == "text":
                most = min(most, first.text.stop - first.text.start)
            rows = slice(begin.start, begin.start + most)
            part, averaged = relevance[:, rows], record.averaged[:, :most, :most]
            relevance = relevance.clone()
            relevance[:, rows] = part + averaged @ part
        if record.renewed:  # tokens that come from the text encoder again
            rows = slice(record.text.stop - record.renewed, record.text.stop)
            relevance = relevance.clone()
            relevance[:, rows] = _identity(relevance, total)[:, rows]
    block = relevance[:, first.image][:, :, first.text]
    return {block.shape[1]: block}


def normalised(relevance: Float[Tensor, "b n n"]) -> Float[Tensor, "b n n"]:
    """R without its identity, rows summing to 1, plus the identity (equations 8 and 9)."""
    identity = _identity(relevance, relevance.shape[1])
    rest = relevance - identity
    return rest / rest.sum(-1, keepdim=True).clamp(min=1e-12) + identity


def _identity(like: Tensor, size: int) -> Float[Tensor, "b n n"]:
    return torch.eye(size, device=like.device, dtype=like.dtype).repeat(like.shape[0], 1, 1)


def word_scores(
    maps: Float[Tensor, "word h w"], present: Sequence[bool]
) -> tuple[Float[Tensor, " word"], Float[Tensor, " word"]]:
    """(raw, scaled) score per word: the sum over image positions, and min-max over the words.

    Source: Park et al. 2024, word relevance. Words that are not present do not count.
    """
    raw = maps.sum((1, 2))
    here = raw[torch.tensor(list(present), dtype=torch.bool, device=raw.device)]
    if len(here) == 0 or float(here.max() - here.min()) <= 0:
        return raw, torch.zeros_like(raw)
    return raw, (raw - here.min()) / (here.max() - here.min())
