"""Text-to-image models: checked before anything is loaded, loaded without pickle or remote code, and described.

What differs between architectures is in one table, pipeline/families.py.
"""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline
from jaxtyping import Float
from torch import Tensor, nn

from pipeline.devices import choose_dtype, place
from pipeline.errors import ModelError
from pipeline.families import Family, family_named
from pipeline.model_files import (
    COMPONENT,
    check_safetensors,
    check_weight_index,
    read_object,
    refuse_links_out,
)
from pipeline.schedules import prediction_type
from pipeline.settings import show
from pipeline.study import ModelSpec

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack")
UNWANTED = ("safety_checker",)  # would replace images by black ones and so spoil a study


def family_of(pipeline: Any) -> Family:
    """The architecture's entry in FAMILIES; an unknown class gets what needs only the scheduler and the decoder."""
    return family_named(type(pipeline).__name__, pipeline.components)


def stage_of(pipeline: Any) -> Any:
    """The pipeline that runs the denoising loop: itself, or a part of one that combines several."""
    stage = family_of(pipeline).stage
    return getattr(pipeline, stage) if stage else pipeline


def denoiser_of(pipeline: Any) -> nn.Module:
    """The module of a pipeline that predicts noise.

    Raises:
        ModelError: the pipeline has neither a UNet nor a transformer.
    """
    module = getattr(pipeline, family_of(pipeline).denoiser, None)
    if isinstance(module, nn.Module):
        return module
    raise ModelError(
        f"{type(pipeline).__name__} has neither a 'unet' nor a 'transformer', so its steps cannot be watched. "
        "Choose a diffusers text-to-image pipeline that has one of them."
    )


def adopt_scheduler(kind: Any, config: Mapping[str, Any]) -> Any:
    """A scheduler under another one's configuration, of which it takes what it knows.

    diffusers would keep the other keys too, and they would then be taken for its own: a learned variance that DDIM does not
    read (Kandinsky 2.2), or a clipping that Euler does not do.

    Raises:
        ModelError: the class can't be set up with it.
    """
    known = inspect.signature(kind.__init__).parameters
    try:
        return kind.from_config(
            {k: v for k, v in config.items() if k in known or k.startswith("_")}
        )
    except (TypeError, ValueError, NotImplementedError, ImportError) as error:
        raise ModelError(
            f"scheduler {kind.__name__!r} can't be set up with this model's configuration: {_one_line(error)}. Choose "
            "another one."
        ) from error


def use_scheduler(pipeline: Any, scheduler: Any) -> None:
    """Gives a pipeline another scheduler, also where a part of it runs the loop."""
    pipeline.scheduler = scheduler
    stage_of(pipeline).scheduler = scheduler


@torch.no_grad()
def decode(
    pipeline: Any, latents: Float[Tensor, "n c h w"], decoder: Any = None
) -> Float[Tensor, "n 3 H W"]:
    """Latents to images in [0, 1], as the pipeline itself does at its end; pixel-space pipelines need no decoder.

    Args:
        pipeline: whose latents they are.
        latents: unpacked.
        decoder: in place of the pipeline's own, such as an AutoencoderTiny.

    Raises:
        ModelError: the latents are packed in a way that is not known.
    """
    family = family_of(pipeline)
    if latents.ndim != 4:
        raise ModelError(
            f"{type(pipeline).__name__} keeps latents of shape {tuple(latents.shape[1:])}, which are not known to be a "
            "picture. Add its family (docs/families.md)."
        )
    vae = decoder or (getattr(pipeline, family.decoder, None) if family.decoder else None)
    if vae is None:
        return (latents / 2 + 0.5).clamp(0, 1).float()
    raised = _upcast(vae, family)
    images = _decoded(vae, latents.to(vae.dtype), family)
    if raised:
        vae.to(torch.float16)
    return (images.float() / 2 + 0.5).clamp(0, 1)


def _decoded(vae: Any, latents: Tensor, family: Family) -> Tensor:
    if family.quantizes:
        return vae.decode(latents, force_not_quantize=True, return_dict=False)[0]
    scale = getattr(vae.config, "scaling_factor", 1.0) or 1.0
    mean, deviation = (vae.config.get(name) for name in ("latents_mean", "latents_std"))
    if family.normalised and mean is not None and deviation is not None:
        shape = (1, -1, 1, 1)
        latents = latents * latents.new_tensor(deviation).view(shape) / scale
        latents = latents + latents.new_tensor(mean).view(shape)
    else:
        shift = (getattr(vae.config, "shift_factor", 0.0) or 0.0) if family.shifted else 0.0
        latents = latents / scale + shift
    return vae.decode(latents, return_dict=False)[0]


def _upcast(vae: Any, family: Family) -> bool:
    """Brings a decoder that overflows in float16 to float32, as its pipeline does."""
    needed = family.upcasts and vae.dtype == torch.float16 and bool(vae.config.get("force_upcast"))
    if needed:
        vae.to(torch.float32)
    return needed


def check_model(spec: ModelSpec) -> None:
    """Everything about a model that can be known without loading weights.

    Raises:
        ModelError: the folder is missing or not a pipeline's, the class is unknown, weights are absent, truncated or
            pickled, or the scheduler does not exist.
    """
    if spec.scheduler is not None:
        scheduler_class(spec.scheduler)
    folder = Path(spec.source)
    if not folder.is_dir():
        if _looks_like_folder(spec.source):
            raise ModelError(
                f"model {spec.name}: no folder {spec.source!r}. Give the path of a diffusers pipeline folder "
                "(with model_index.json), or a Hub id such as 'owner/name'."
            )
        return
    index = read_index(folder, spec.name)
    check_index(index, folder, spec.name)
    refuse_links_out(folder, f"model {spec.name}")
    for component, entry in index.items():
        if isinstance(entry, list) and entry[0] is not None and component not in UNWANTED:
            _check_component(folder, component, spec.name)


def read_index(folder: Path, name: str) -> dict[str, Any]:
    """The pipeline's model_index.json."""
    file = folder / "model_index.json"
    if not file.is_file():
        raise ModelError(
            f"model {name}: {folder} has no model_index.json, so it is not a diffusers pipeline folder. Save the "
            "pipeline with save_pretrained(..., safe_serialization=True)."
        )
    index = read_object(file, f"model {name}")
    if "_class_name" not in index:
        raise ModelError(
            f"model {name}: {file} has no '_class_name'. Save the pipeline again with diffusers."
        )
    return index


def check_index(index: dict[str, Any], folder: Path, name: str) -> None:
    """The pipeline class must be diffusers' own, and every component must come from diffusers or transformers."""
    wanted = index["_class_name"]
    if not _is_pipeline(wanted):
        raise ModelError(
            f"model {name}: {folder}/model_index.json asks for pipeline class {show(wanted)}, which diffusers "
            f"{diffusers.__version__} does not have. Remote code is never run; use a pipeline that diffusers ships."
        )
    for component, entry in index.items():
        if not isinstance(entry, list) or entry[:1] == [None]:
            continue
        if len(entry) != 2 or not isinstance(entry[1], str) or not COMPONENT.fullmatch(component):
            raise ModelError(
                f"model {name}: component {show(component)} of {folder}/model_index.json is {show(entry)}, not "
                '["diffusers", CLASS]. Save the pipeline again with diffusers.'
            )
        if entry[0] not in ("diffusers", "transformers", "stable_diffusion"):
            raise ModelError(
                f"model {name}: component {component!r} of {folder}/model_index.json comes from {show(entry[0])}; only "
                "diffusers and transformers are allowed, for remote code is never run."
            )


def _is_pipeline(wanted: object) -> bool:
    """Whether a name is that of one of diffusers' pipeline classes."""
    found = getattr(diffusers, wanted, None) if isinstance(wanted, str) else None
    return inspect.isclass(found) and issubclass(found, DiffusionPipeline)


def _check_component(folder: Path, component: str, name: str) -> None:
    path = folder / component
    if not path.is_dir():
        raise ModelError(
            f"model {name}: {folder} lacks the component folder {component!r} that model_index.json names. "
            "Download or save the model again."
        )
    if path.resolve().parent != folder.resolve():
        raise ModelError(
            f"model {name}: {path} is a link out of the model's folder. Copy the component into it."
        )
    if not (path / "config.json").is_file():
        return  # a tokenizer, scheduler or processor: no weights
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        pickled = [file.name for file in sorted(path.iterdir()) if file.suffix in PICKLES]
        found = f"only {', '.join(pickled)} (pickle, never loaded)" if pickled else "no weights"
        raise ModelError(
            f"model {name}: {path} has {found}. Convert it with save_pretrained(..., safe_serialization=True)."
        )
    for file in weights:
        check_safetensors(file, f"model {name}")
    for file in sorted(path.glob("*.index.json")):
        check_weight_index(file, f"model {name}")


def scheduler_class(name: str) -> type:
    """A diffusers scheduler by its class name.

    Raises:
        ModelError: there is none of that name; close names are suggested.
    """
    known = [n for n in dir(diffusers) if n.endswith("Scheduler")]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ModelError(
            f"scheduler {name!r} does not exist in diffusers {diffusers.__version__}.{hint} Give a class name such as "
            "DDIMScheduler, EulerDiscreteScheduler or DPMSolverMultistepScheduler."
        )
    return getattr(diffusers, name)


def open_pipeline(spec: ModelSpec, device: torch.device) -> Any:
    """Load a diffusers pipeline from a folder or the Hub: safetensors only, no remote code, no safety checker.

    Raises:
        ModelError: as `check_model`, or the weights cannot be loaded.
    """
    check_model(spec)
    try:
        pipeline = _from_pretrained(spec, choose_dtype(spec.dtype, device))
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(
            f"model {spec.name}: {spec.source!r} could not be loaded: {_one_line(error)}. If it is a Hub id, check the "
            "name, your access and the network; if it is a folder, save it again with save_pretrained."
        ) from error
    if spec.scheduler is not None:
        chosen = scheduler_class(spec.scheduler)
        use_scheduler(pipeline, adopt_scheduler(chosen, pipeline.scheduler.config))
    pipeline.set_progress_bar_config(disable=True)
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.eval().requires_grad_(False)
    return place(pipeline, spec, device)


def open_decoder(spec: ModelSpec, pipeline: Any) -> Any:
    """What decodes a model's steps, on the model's device: the tiny autoencoder that the study names, or a copy of its own
    decoder where that is faster; None = its own does.

    Raises:
        ModelError: it cannot be loaded, or is for latents of other channels.
    """
    if spec.steps_decoder is None:
        return _channels_last_copy(pipeline)
    try:
        decoder = AutoencoderTiny.from_pretrained(spec.steps_decoder, use_safetensors=True)
    except Exception as error:
        raise ModelError(
            f"model {spec.name}: steps_decoder = {spec.steps_decoder!r} could not be loaded: {_one_line(error)}. Give the "
            "folder or Hub id of an AutoencoderTiny."
        ) from error
    own = pipeline.vae.config.latent_channels
    if decoder.config.latent_channels != own:
        raise ModelError(
            f"model {spec.name}: steps_decoder = {spec.steps_decoder!r} decodes {decoder.config.latent_channels} channels, "
            f"and the model's latents have {own}. Choose the one made for this model."
        )
    return decoder.eval().requires_grad_(False).to(pipeline._execution_device, pipeline.vae.dtype)


def _channels_last_copy(pipeline: Any) -> Any:
    """A copy of a CPU pipeline's autoencoder, for its steps, with channels last in memory; None for other pipelines.

    128 images of 64 px are decoded in 0.43 s in place of 0.81 s (2 cores), equal but for float rounding. The pipeline's own
    decoder stays as it is, so that the final image keeps its bits.
    """
    vae = getattr(pipeline, "vae", None)
    if not isinstance(vae, AutoencoderKL) or vae.device.type != "cpu":
        return None
    twin = copy.deepcopy(vae)
    del twin.encoder
    return twin.to(memory_format=torch.channels_last)


def check_reachable(spec: ModelSpec) -> dict[str, Any]:
    """That a Hub id can be had, and is a pipeline that may be run: only its model_index.json is fetched.

    Returns: the index; that of a folder as it is.

    Raises:
        ModelError: the id does not exist, is gated, or the Hub cannot be reached; or as `check_index`.
    """
    if Path(spec.source).is_dir():
        return read_index(Path(spec.source), spec.name)
    try:
        index = DiffusionPipeline.load_config(spec.source, revision=spec.revision)
    except Exception as error:
        raise ModelError(
            f"model {spec.name}: {spec.source!r} cannot be had from the Hub: {_one_line(error)}. Check the name, your "
            "access and the network, or give a folder."
        ) from error
    check_index(index, Path(spec.source), spec.name)
    return index


def _from_pretrained(spec: ModelSpec, dtype: torch.dtype) -> Any:
    index = DiffusionPipeline.load_config(spec.source, revision=_revision(spec))
    check_index(index, Path(spec.source), spec.name)
    # diffusers refuses a folder whose index has null components unless each is passed as None
    absent = {k: None for k, v in index.items() if isinstance(v, list) and v[0] is None}
    absent |= {k: None for k in UNWANTED if k in index}
    options = {"requires_safety_checker": False} if "requires_safety_checker" in index else {}
    return DiffusionPipeline.from_pretrained(
        spec.source,
        revision=_revision(spec),
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        **absent,
        **options,
    )


def _revision(spec: ModelSpec) -> str | None:
    return None if Path(spec.source).is_dir() else spec.revision


def describe(pipeline: Any, spec: ModelSpec) -> dict[str, Any]:
    """What the `model` table says of a loaded model."""
    module = denoiser_of(pipeline)
    return {
        "pipeline": type(pipeline).__name__,
        "family": family_of(pipeline).name,
        "prediction_type": prediction_type(pipeline.scheduler),
        "scheduler": type(pipeline.scheduler).__name__,
        "dtype": str(module.dtype).removeprefix("torch."),
        "parameters": sum(p.numel() for p in module.parameters()),
    }


def _looks_like_folder(source: str) -> bool:
    return source.startswith((".", "/", "~", "data/")) or source.count("/") != 1


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
