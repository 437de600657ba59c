"""Each saliency tool, run on the items of a batch at one step: the settings of a study in, maps out."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from pipeline.denoiser import Denoiser
from pipeline.explain.baseline import random_baseline
from pipeline.explain.cam import cam_layers, choose_layers, df_cam, patch_size_of
from pipeline.explain.lime import LimeOptions, lime_weights
from pipeline.explain.rise import RiseOptions, park2024, rise_scores
from pipeline.faithfulness import next_step
from pipeline.observe import Batch, StepView
from pipeline.similarity import similarity_to
from pipeline.study import ToolSpec

Maps = dict[int, Float[Tensor, "h w"]]
"""A map for each item of the batch that was asked for, unscaled."""


def rise_maps(view: StepView, items: Sequence[int], tool: ToolSpec, protocol: str) -> Maps:
    """DF-RISE of some items, one after the other: an item's masks fill the batch."""
    options = RiseOptions(**given_options(tool, RiseOptions))
    options = park2024(options) if protocol == "park2024" else options
    return {item: _rise_map(view, item, options) for item in items}


def _rise_map(view: StepView, item: int, options: RiseOptions) -> Float[Tensor, "h w"]:
    if options.similarity == "fid":
        return _rise_by_distance(view, item, options)
    predict = predict_of(view.denoiser, item)
    target = (view.next_latents if options.against_next else view.prediction)[item].float()
    return rise_scores(predict, view.latents[item], options, target)


def _rise_by_distance(view: StepView, item: int, options: RiseOptions) -> Float[Tensor, "h w"]:
    """Between decoded pictures: of the next step under the paper's protocol, else of x0."""
    outcome, reference = clean_of(view.denoiser, item), view.denoised[item]
    if options.against_next:
        outcome, reference = following_of(view, item), view.next_latents[item]
    distance = similarity_to(reference, "fid", embed_images(view.batch))
    return rise_scores(outcome, view.latents[item], options, reference, distance)


def lime_maps(view: StepView, items: Sequence[int], tool: ToolSpec, protocol: str) -> Maps:
    """The LIME baseline of some items."""
    options = LimeOptions(**given_options(tool, LimeOptions))
    return {
        item: lime_weights(predict_of(view.denoiser, item), view.latents[item], options)
        for item in items
    }


def cam_maps(view: StepView, items: Sequence[int], tool: ToolSpec, protocol: str) -> Maps:
    """DF-CAM over all layers: one forward and one backward pass for a whole batch."""
    denoiser = view.denoiser
    size = (view.latents.shape[-2], view.latents.shape[-1])
    known, wanted = cam_layers(denoiser.module, view.batch.family.cam), tool.options.get("layers")
    layers = choose_layers(known, wanted if isinstance(wanted, tuple) else ())
    patch = patch_size_of(denoiser.module, view.latents.shape[1])
    halves, scale = denoiser.halves, denoiser.second_half_scale
    found: Maps = {}
    for members, forward in forwards(denoiser, items):
        maps = df_cam(forward, denoiser.module, size, halves, scale, layers, patch)
        found.update(zip(members, maps, strict=True))
    return found


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


def forwards(
    denoiser: Denoiser, items: Sequence[int]
) -> Iterator[tuple[list[int], Callable[[], Float[Tensor, "n c h w"]]]]:
    """(items, function that predicts them with gradients): the whole batch at once, or one by one."""
    if list(items) == list(range(denoiser.batch)):
        latents = denoiser.latents.detach().clone().requires_grad_()
        yield list(items), lambda: denoiser.guide(*denoiser.halves_of_batch(latents))
        return
    for item in items:
        alone = denoiser.latents[item : item + 1].detach().clone().requires_grad_()
        yield [item], _forward(denoiser, alone, item)


def _forward(denoiser: Denoiser, latents: Tensor, item: int) -> Callable[[], Tensor]:
    return lambda: denoiser.guide(*denoiser.halves_of(latents, item))


def predict_of(denoiser: Denoiser, item: int) -> Callable[[Tensor], Tensor]:
    """The guided prediction of any latents under one item's conditions."""
    return lambda latents: denoiser(latents, item)


def clean_of(denoiser: Denoiser, item: int) -> Callable[[Tensor], Tensor]:
    """The clean latents that any latents lead to under one item's conditions."""
    return lambda latents: denoiser.denoised(latents, denoiser(latents, item))


def following_of(view: StepView, item: int) -> Callable[[Tensor], Tensor]:
    """The next step's latents that any latents lead to under one item's conditions."""
    step = next_step(view.latents, view.denoised, view.next_latents)
    clean = clean_of(view.denoiser, item)
    return lambda latents: step(latents, clean(latents), item)


def embed_images(batch: Batch) -> Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n d"]]:
    """Embeddings of latents, decoded, by the study's first scorer, whom tools judge by."""
    return lambda latents: batch.scorer.images(batch.decode(latents))


def given_options(tool: ToolSpec, options: Any) -> dict[str, Any]:
    """The study's options that the tool's own record knows."""
    known = options.__dataclass_fields__
    return {key: value for key, value in tool.options.items() if key in known}
