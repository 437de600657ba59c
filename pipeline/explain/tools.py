"""Each saliency tool, run on the items of a batch at one step: the settings of a study in, maps out."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.diffusion.denoiser import Denoiser
from pipeline.diffusion.watch import Batch, StepView
from pipeline.explain.baseline import random_baseline
from pipeline.explain.cam import cam_layers, choose_layers, df_cam, patch_size_of
from pipeline.explain.lime import LimeOptions, lime_weights
from pipeline.explain.rise import RiseOptions, park2024, rise_scores
from pipeline.metrics.similarity import image_similarity, mean_of, similarity_to
from pipeline.models.families import Family
from pipeline.study.spec import OF_IMAGES, ToolSpec

Maps = dict[int, Float[Tensor, "h w"]]
"""A map for each item of the batch that was asked for, unscaled."""


PAPER_MASKS = 500


def rise_options(tool: ToolSpec, protocol: str) -> RiseOptions:
    """DF-RISE's options in a study; what it leaves open is the paper's in the paper's protocol."""
    settings = given_options(tool, RiseOptions)
    if protocol == "park2024":
        return park2024(RiseOptions(**({"masks": PAPER_MASKS} | settings)))
    return RiseOptions(**settings)


def lime_options(tool: ToolSpec, protocol: str) -> LimeOptions:
    """LIME's options in a study; in the paper's protocol superpixels, and weights as they are."""
    settings = given_options(tool, LimeOptions)
    if protocol == "park2024":
        return LimeOptions(**({"segmentation": "slic"} | settings), per_area=False)
    return LimeOptions(**settings)


def rise_maps(view: StepView, items: Sequence[int], tool: ToolSpec, protocol: str) -> Maps:
    """DF-RISE of some items, one after the other: an item's masks fill the batch."""
    options = rise_options(tool, protocol)
    return {item: _rise_map(view, item, options) for item in items}


def _rise_map(view: StepView, item: int, options: RiseOptions) -> Float[Tensor, "h w"]:
    """Between clean latents; against the next step, between predictions and x_{t-1}, as the paper's code has it."""
    if options.similarity in OF_IMAGES:
        return _rise_by_images(view, item, options)
    if options.against_next:
        outcome, target = predict_of(view.denoiser, item), view.next_latents[item].float()
    else:
        outcome, target = clean_of(view.denoiser, item), view.denoised[item].float()
    return rise_scores(outcome, view.latents[item], options, target)


def _rise_by_images(view: StepView, item: int, options: RiseOptions) -> Float[Tensor, "h w"]:
    """Between decoded images: of the next step under the paper's protocol, else of x0."""
    outcome, reference = outcome_of(view, item, options.protocol)
    features = image_features(view.batch, options.similarity)
    similarity = image_similarity(reference, options.similarity, features)
    return rise_scores(outcome, view.latents[item], options, reference, similarity)


def lime_maps(view: StepView, items: Sequence[int], tool: ToolSpec, protocol: str) -> Maps:
    """The LIME baseline of some items: of clean latents, weights per area.

    The paper's protocol scores as its DF-RISE does, by predictions against x_{t-1}, and leaves weights as they are.
    """
    options = lime_options(tool, protocol)
    return {item: _lime_map(view, item, options, protocol) for item in items}


def _lime_map(
    view: StepView, item: int, options: LimeOptions, protocol: str
) -> Float[Tensor, "h w"]:
    if protocol != "park2024":
        return lime_weights(clean_of(view.denoiser, item), view.latents[item], options)
    similarity = similarity_to(view.next_latents[item].float(), options.similarity, protocol)
    return lime_weights(
        predict_of(view.denoiser, item), view.latents[item], options, mean_of(similarity)
    )


def cam_maps(view: StepView, items: Sequence[int], tool: ToolSpec, protocol: str) -> Maps:
    """DF-CAM over all layers, by one forward and one backward pass: of the conditional half, for all items.

    The paper's protocol: target = the raw sum of both halves; gradients and activations are each combined by the guidance
    formula.
    """
    denoiser = view.denoiser
    size = (view.latents.shape[-2], view.latents.shape[-1])
    known, wanted = cam_layers(denoiser.module, view.batch.family.cam), tool.options.get("layers")
    layers = choose_layers(known, wanted if isinstance(wanted, tuple) else ())
    patch = patch_size_of(denoiser.module, view.latents.shape[1])
    image_first = view.batch.family.image_first
    if protocol != "park2024":
        by_item: Maps = {}
        for members in apart(view.batch.family, items):
            forward = conditional_forward(denoiser, members)
            maps = df_cam(
                forward, denoiser.module, size, layers=layers, patch=patch, image_first=image_first
            )
            by_item.update(zip(members, maps, strict=True))
        return by_item
    halves, scale = denoiser.conditions, denoiser.second_half_scale
    by_item = {}
    for members, both in forwards_of_both(denoiser, items, view.batch.family.ragged):
        maps = df_cam(both, denoiser.module, size, halves, scale, layers, patch, image_first)
        by_item.update(zip(members, maps, strict=True))
    return by_item


def random_maps(view: StepView, items: Sequence[int], tool: ToolSpec, protocol: str) -> Maps:
    """Uniform noise; it depends on seed, step and prompt, not on the item's place in its batch."""
    height, width = view.latents.shape[-2:]
    return {
        item: random_baseline(
            height,
            width,
            view.batch.seed + int(tool.options.get("seed", 0)),  # type: ignore[arg-type]
            view.step,
            zlib.crc32(view.batch.prompts[item].prompt_key.encode()),
        )
        for item in items
    }


MapTool = Callable[[StepView, Sequence[int], ToolSpec, str], Maps]
TOOLS: dict[str, MapTool] = {
    "df-rise": rise_maps,
    "df-cam": cam_maps,
    "lime": lime_maps,
    "random": random_maps,
}


def apart(family: Family, items: Sequence[int]) -> list[list[int]]:
    """The items that one replay explains: all, or each alone where their images stand at different places."""
    return [[item] for item in items] if family.ragged else [list(items)]


def conditional_forward(
    denoiser: Denoiser, items: Sequence[int]
) -> Callable[[], Float[Tensor, "n c h w"]]:
    """A function that predicts some items with gradients: the conditional half alone, so that guidance has no part in it."""
    latents = denoiser.latents[list(items)].detach().clone().requires_grad_()
    return lambda: denoiser.conditional_of(latents, items)


def forwards_of_both(
    denoiser: Denoiser, items: Sequence[int], ragged: bool = False
) -> Iterator[tuple[list[int], Callable[[], Float[Tensor, "n c h w"]]]]:
    """(items, function that predicts them with gradients, both halves as they are): all at once, or one by one."""
    if list(items) == list(range(denoiser.batch)) and not ragged:
        latents = denoiser.latents.detach().clone().requires_grad_()
        yield list(items), lambda: _joined(denoiser.halves_of_batch(latents))
        return
    for item in items:
        alone = denoiser.latents[item : item + 1].detach().clone().requires_grad_()
        yield [item], _both_halves(denoiser, alone, item)


def _both_halves(denoiser: Denoiser, latents: Tensor, item: int) -> Callable[[], Tensor]:
    return lambda: _joined(denoiser.halves_of(latents, item))


def _joined(halves: tuple[Tensor | None, Tensor]) -> Float[Tensor, "n c h w"]:
    return torch.cat([half for half in halves if half is not None])


def predict_of(denoiser: Denoiser, item: int) -> Callable[[Tensor], Tensor]:
    """The guided prediction of any latents under one item's conditions."""
    return lambda latents: denoiser(latents, item)


def clean_of(denoiser: Denoiser, item: int) -> Callable[[Tensor], Tensor]:
    """The clean latents that any latents lead to under one item's conditions."""
    return lambda latents: denoiser.denoised(latents, denoiser(latents, item))


def following_of(view: StepView, item: int) -> Callable[[Tensor], Tensor]:
    """The next step's latents that any latents lead to under one item's conditions."""
    denoiser = view.denoiser
    return lambda latents: view.take_step(latents, denoiser(latents, item), item)


def outcome_of(
    view: StepView, item: int, protocol: str
) -> tuple[Callable[[Tensor], Tensor], Float[Tensor, "c h w"]]:
    """(what latents lead to, the same of the untouched ones): clean latents; the next step in the paper's protocol."""
    if protocol == "park2024":
        return following_of(view, item), view.next_latents[item]
    return clean_of(view.denoiser, item), view.denoised[item]


def image_features(
    batch: Batch, score: str = "clip"
) -> Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n d"]]:
    """Features of latents, decoded: the first scorer's embeddings, or Inception's for the score of that name."""
    extract = batch.inception if score == "inception" else batch.scorer.images
    assert extract is not None  # the plan was refused
    return lambda latents: extract(batch.decode(latents))


def given_options(tool: ToolSpec, options: Any) -> dict[str, Any]:
    """The study's options that the tool's own record knows."""
    known = options.__dataclass_fields__
    return {key: value for key, value in tool.options.items() if key in known}
