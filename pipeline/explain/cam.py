"""DF-CAM: which region the features inside a denoiser stand for, by Grad-CAM over all layers at once."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.errors import StudyError
from pipeline.explain.maps import resize_map, scale_map
from pipeline.models.families import BLOCKS, UNET_LAYERS, fits

_KNOWN: WeakKeyDictionary[nn.Module, list[str]] = WeakKeyDictionary()


def cam_layers(denoiser: nn.Module, pattern: str | None = None) -> list[str]:
    """The layers DF-CAM looks at: a UNet's resnets, attentions, down- and upsamplers; else blocks.

    Args:
        denoiser: the UNet or transformer.
        pattern: of a family's `cam`; whichever of the two fits if None.
    """
    if denoiser not in _KNOWN:
        names = [name for name, _ in denoiser.named_modules()]
        patterns = (UNET_LAYERS, BLOCKS) if pattern is None else (pattern,)
        matches = ([name for name in names if fits(one, name)] for one in patterns)
        _KNOWN[denoiser] = next((layers for layers in matches if layers), [])
    return list(_KNOWN[denoiser])


def choose_layers(known: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The known layers that any of the patterns names: "mid_block.*", "up_blocks.1.resnets.0".

    Raises:
        StudyError: a pattern names no layer.
    """
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise StudyError(
                f"df-cam.layers: no layer {pattern!r}. The model has {len(known)}: "
                f"{', '.join(known[:6])}{', ...' if len(known) > 6 else ''}."
            )
    return [name for name in known if any(fnmatchcase(name, p) for p in wanted)] or list(known)


def patch_size_of(denoiser: nn.Module, channels: int) -> int:
    """Latents along one side of a transformer's token; packing in the pipeline (FLUX) counts.

    Args:
        denoiser: a diffusers transformer.
        channels: of the latents.
    """
    config = getattr(denoiser, "config", {})
    if config.get("in_channels") == 4 * channels:
        return 2  # whatever the denoiser calls a patch
    if config.get("all_patch_size"):
        return int(config["all_patch_size"][0])
    patch = config.get("patch_size") or 1
    return int(patch if isinstance(patch, int) else patch[-1])  # of HunyuanImage's two


@dataclass
class Activations:
    """Context manager that keeps the outputs of some layers while the denoiser runs: one for each call of it."""

    denoiser: nn.Module
    names: Sequence[str]
    image_first: bool = False
    features: dict[str, list[Tensor]] = field(default_factory=dict)

    def __enter__(self) -> "Activations":
        self._hooks = ExitStack()
        for name in self.names:
            module = self.denoiser.get_submodule(name)
            hook = module.register_forward_hook(self._keeper(name))
            self._hooks.callback(hook.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def _keeper(self, name: str) -> Callable[..., None]:
        def keep(_module: nn.Module, _args: tuple, output: Any) -> None:
            features = image_features(output, self.image_first)
            self.features.setdefault(name, []).append(features)

        return keep


def image_features(output: Any, image_first: bool = False) -> Tensor:
    """The image's features out of a layer's output; joint blocks return (text, image), CogView4's (image, text)."""
    if isinstance(output, Tensor):
        return output
    if hasattr(output, "sample"):
        return output.sample
    return [part for part in output if isinstance(part, Tensor)][0 if image_first else -1]


def df_cam(
    forward: Callable[[], Float[Tensor, "b c h w"]],
    denoiser: nn.Module,
    size: tuple[int, int],
    halves: int = 1,
    guidance: float = 1.0,
    layers: Sequence[str] | None = None,
    patch: int = 1,
    image_first: bool = False,
) -> Float[Tensor, "b h w"]:
    """Saliency of each item: Grad-CAM of all layers, from one forward and one backward pass.

    Each layer's map is brought to the latents' size and min-max scaled; their sum is scaled again.

    Source: Selvaraju et al. 2017 (arXiv 1610.02391), equations 1 and 2; for denoisers Park et al.
    2024. The target is the sum over all elements of the guided prediction.

    Args:
        forward: computes the guided prediction of the batch, with gradients; calls `denoiser` once, or once for each half.
        denoiser: the UNet or transformer.
        size: of the latents.
        halves: 2 when unconditional items stand before conditional ones in the denoiser's batch.
        guidance: the guidance scale that combines the halves of gradients and activations.
        layers: names; all of `cam_layers` if None.
        patch: latents along one side of a transformer's token (`patch_size_of`).
        image_first: a joint layer's image comes before its text.

    Returns: [0, 1], high = salient.
    """
    maps = layer_cams(forward, denoiser, size, halves, guidance, layers, patch, image_first)
    scaled = [scale_map(resize_map(one, size)) for one in maps.values()]
    return scale_map(torch.stack(scaled).sum(0))


def layer_cams(
    forward: Callable[[], Float[Tensor, "b c h w"]],
    denoiser: nn.Module,
    size: tuple[int, int],
    halves: int = 1,
    guidance: float = 1.0,
    layers: Sequence[str] | None = None,
    patch: int = 1,
    image_first: bool = False,
) -> dict[str, Float[Tensor, "b u v"]]:
    """Grad-CAM of every layer at its own size, unscaled: ReLU(sum_k mean(dT/dA_k) A_k)."""
    names = cam_layers(denoiser) if layers is None else layers
    with torch.enable_grad(), Activations(denoiser, names, image_first) as seen:
        target = forward().float().sum()
    flat = [feature for features in seen.features.values() for feature in features]
    gradients = iter(torch.autograd.grad(target, flat, allow_unused=True))
    by_layer = {
        name: [(feature, next(gradients)) for feature in features]
        for name, features in seen.features.items()
    }
    lay_out = partial(as_grid, size=size, patch=patch, image_first=image_first)
    return {
        name: _one_cam(pairs, lay_out, halves, guidance)
        for name, pairs in by_layer.items()
        if all(gradient is not None for _, gradient in pairs)
    }


@torch.no_grad()
def _one_cam(
    pairs: Sequence[tuple[Tensor, Tensor]],
    lay_out: Callable[[Tensor], Tensor],
    halves: int,
    guidance: float,
) -> Float[Tensor, "b u v"]:
    """One layer's map, of its (feature, gradient) in each call."""
    feature, gradient = (
        torch.cat([lay_out(part.detach().float()) for part in parts])
        for parts in zip(*pairs, strict=True)
    )
    if halves == 2:
        feature, gradient = (combine(part, guidance) for part in (feature, gradient))
    weights = gradient.mean((2, 3), keepdim=True)
    return (weights * feature).sum(1).relu()


def combine(both: Float[Tensor, "b2 k u v"], guidance: float) -> Float[Tensor, "b k u v"]:
    """u + w (c - u) of the unconditional (first) and conditional halves."""
    unconditional, conditional = both.chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def as_grid(
    features: Float[Tensor, "b *rest"],
    size: tuple[int, int],
    patch: int = 1,
    image_first: bool = False,
) -> Float[Tensor, "b k u v"]:
    """Features as channels over space; tokens (b n k) are laid out on the patch grid.

    In a joined sequence the image's tokens are the last ones (FLUX and AuraFlow single blocks), or the first ones (Z-Image).
    """
    if features.ndim == 4:
        return features
    rows, columns = math.ceil(size[0] / patch), math.ceil(size[1] / patch)
    start = 0 if image_first else features.shape[1] - rows * columns
    image = features[:, start : start + rows * columns]
    return image.transpose(1, 2).unflatten(2, (rows, columns))
