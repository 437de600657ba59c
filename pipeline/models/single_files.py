"""A checkpoint in one safetensors file, in the layout of the models' authors: the components that it holds, under diffusers' names.

Stable Diffusion 1 and 2, SDXL and FLUX are known. diffusers translates the names; what else a component needs, and components that
the file does not hold, come from a folder in diffusers' layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from diffusers.loaders.single_file_utils import (
    convert_flux_transformer_checkpoint_to_diffusers,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.models.files import Shape

T = TypeVar("T")
SUFFIX = ".safetensors"
UNET, VAE = "model.diffusion_model.", ("first_stage_model.", "vae.")
OPEN_CLIP = ("cond_stage_model.model.", "conditioner.embedders.1.model.")
CLIP = ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer.")
FLUX = (f"{UNET}double_blocks.", "double_blocks.")
LAYOUTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("UNet2DConditionModel", "unet"): (f"{UNET}input_blocks.",),
    ("AutoencoderKL", "vae"): VAE,
    ("CLIPTextModel", "text_encoder"): (*CLIP, OPEN_CLIP[0]),
    ("CLIPTextModelWithProjection", "text_encoder_2"): OPEN_CLIP[1:],
    ("FluxTransformer2DModel", "transformer"): FLUX,
}
"""How the names of a component's tensors begin in a file that holds it, by class and name."""
MAX_TENSORS = 5_000  # of one component; SDXL's UNet has 1,680
TRAINING = (
    "loss.",
    "model_ema.",
)  # of an autoencoder's training, where its file still has them


def prefix_of(kind: type, name: str, tensors: Iterable[str]) -> str | None:
    """How the names of a component's tensors begin in a file; None where it does not hold the component."""
    names = list(tensors)
    prefixes = LAYOUTS.get((kind.__name__, name), ())
    return next((prefix for prefix in prefixes if any(n.startswith(prefix) for n in names)), None)


def shapes_in(
    kind: Any, name: str, folder: Path, stored: Mapping[str, Shape], title: str
) -> dict[str, Shape]:
    """The shapes of a component's tensors under diffusers' names, from those of the file's header alone.

    Raises:
        ModelError: as `tensors_in`.
    """
    part = _part_of(kind, name, stored, title)
    with _translating(title), torch.device("meta"):
        nothing = {n: torch.empty(shape) for n, shape in part.items()}
    tensors = tensors_in(kind, name, folder, nothing, title)
    return {n: tuple(tensor.shape) for n, tensor in tensors.items()}


def _part_of(kind: type, name: str, stored: Mapping[str, T], title: str) -> dict[str, T]:
    """What a file holds of a component; diffusers takes time for the square of how much that is."""
    prefix = prefix_of(kind, name, stored)
    assert prefix is not None
    scope = prefix.removesuffix("input_blocks.").removesuffix("double_blocks.")
    training = tuple(scope + other for other in TRAINING)
    part = {n: v for n, v in stored.items() if n.startswith(scope) and not n.startswith(training)}
    if len(part) > MAX_TENSORS:
        raise ModelError(f"{title}: the file holds {len(part):,} tensors of it (at most {MAX_TENSORS:,}). Download the model again, or save it with save_pretrained.")  # fmt: skip
    return part


@contextmanager
def _translating(title: str) -> Iterator[None]:
    """Turns what diffusers raises over names and shapes that it does not expect into one ModelError."""
    try:
        yield
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError, OSError) as error:
        raise ModelError(
            f"{title}: its tensors are not in the layout of a known checkpoint ({_short(error)}). Stable Diffusion 1 and 2, SDXL and "
            "FLUX are known; save other models with save_pretrained."
        ) from error


def tensors_in(
    kind: Any, name: str, folder: Path, stored: Mapping[str, Tensor], title: str
) -> dict[str, Tensor]:
    """A component's tensors under diffusers' names.

    Args:
        kind: its class.
        name: in the pipeline.
        folder: with its configuration.
        stored: all tensors of the file.
        title: the component, as messages begin.

    Raises:
        ModelError: the file has tensors of the component that diffusers does not know, or lacks some without which it cannot
            translate the others.
    """
    part = _part_of(kind, name, stored, title)
    prefix = prefix_of(kind, name, part)
    assert prefix is not None
    with _translating(title):
        if kind.__name__.startswith("CLIP"):
            return _of_clip(kind, folder, part, prefix)
        return _of_diffusers(kind, folder, part, prefix, title)


def _of_clip(kind: Any, folder: Path, part: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    if prefix in CLIP:
        return {n.removeprefix(prefix): tensor for n, tensor in part.items()}
    config = kind.config_class.from_pretrained(folder)
    tensors: dict[str, Tensor] = convert_open_clip_checkpoint(
        SimpleNamespace(config=config), part, prefix=prefix
    )
    if not kind.__name__.endswith("WithProjection"):  # Stable Diffusion 2 does not use it
        tensors.pop("text_projection.weight", None)
    return tensors


def _of_diffusers(
    kind: Any, folder: Path, part: dict[str, Tensor], prefix: str, title: str
) -> dict[str, Tensor]:
    tensors: dict[str, Tensor]
    if prefix in FLUX:
        left = {n.removeprefix(prefix.removesuffix("double_blocks.")): t for n, t in part.items()}
        tensors = convert_flux_transformer_checkpoint_to_diffusers(left)  # takes out what it knows
        _refuse_unknown(list(left), title)
        return tensors
    convert = convert_ldm_vae_checkpoint if prefix in VAE else convert_ldm_unet_checkpoint
    tensors = convert(dict(part), config=kind.load_config(folder))
    if len(tensors) < len(part):  # each name is translated to one
        known = {id(tensor) for tensor in tensors.values()}
        unknown = [n for n, t in part.items() if id(t) not in known and ".attn_1." not in n]
        _refuse_unknown(unknown or list(part), title)
    return tensors


def _refuse_unknown(names: list[str], title: str) -> None:
    if names:
        shown = ", ".join(name[:120] for name in names[:3]) + (", ..." if len(names) > 3 else "")
        raise ModelError(f"{title}: the file holds tensors that diffusers does not know ({shown}), so they would be left out. Download the model again, or save it with save_pretrained.")  # fmt: skip


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
