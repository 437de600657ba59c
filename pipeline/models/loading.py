"""Text-to-image models: checked before anything is loaded, loaded without pickle or remote code, and described.

What differs between architectures is in one table, pipeline/models/families.py.
"""

from __future__ import annotations

import copy
import difflib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline, ModelMixin
from huggingface_hub import snapshot_download
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.models.adapters import add_adapters, check_adapters
from pipeline.models.caches import DENOISERS, check_cache, enable_cache
from pipeline.models.decoding import layout_of
from pipeline.models.devices import choose_dtype, place
from pipeline.models.families import Family, family_named
from pipeline.models.files import view
from pipeline.models.folders import (
    UNWANTED,
    Component,
    cached_folder,
    check_decoder_folder,
    check_index,
    check_pipeline_folder,
    is_component,
    is_whole,
    pipeline_view,
    read_index,
)
from pipeline.models.guard import no_bars, no_remote_code, one_line, quiet
from pipeline.models.inversions import add_embeddings, check_embeddings
from pipeline.models.prediction import prediction_type
from pipeline.models.quantizing import check_quantization, quantize
from pipeline.models.single_files import SUFFIX, tensors_in
from pipeline.models.weights import check_weights
from pipeline.study.spec import ModelSpec

STATISTICS = ("latents_mean", "latents_std")


def family_of(pipeline: Any) -> Family:
    """The architecture's entry in FAMILIES; an unknown class gets what needs only the scheduler and the decoder."""
    return family_named(type(pipeline).__name__, pipeline.components)


def stage_of(pipeline: Any) -> Any:
    """The pipeline that runs the denoising loop: itself, or a part of one that combines several."""
    family = family_of(pipeline)
    if family.known:
        return getattr(pipeline, family.stage) if family.stage else pipeline
    parts = (part for part in vars(pipeline).values() if isinstance(part, DiffusionPipeline))
    scheduler = pipeline.components.get("scheduler")
    return next((part for part in parts if part.components.get("scheduler") is scheduler), pipeline)


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
        ModelError: the class cannot be set up with it.
    """
    known = inspect.signature(kind.__init__).parameters
    try:
        return kind.from_config(
            {k: v for k, v in config.items() if k in known or k.startswith("_")}
        )
    except (TypeError, ValueError, NotImplementedError, ImportError) as error:
        raise ModelError(
            f"scheduler {kind.__name__!r} cannot be set up with this model's configuration: {_one_line(error)}. Choose "
            "another one."
        ) from error


def use_scheduler(pipeline: Any, scheduler: Any) -> None:
    """Gives a pipeline another scheduler, also where a part of it runs the loop."""
    stage = stage_of(pipeline)
    pipeline.scheduler = stage.scheduler = scheduler


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
    learnt = layout_of(pipeline)
    if learnt is not None and type(vae) is type(getattr(pipeline, family.decoder)):
        images = learnt.decode(vae, latents)
    else:
        images = _decoded(vae, latents.to(vae.dtype), family)
    if raised:
        vae.to(torch.float16)
    return (images.float() / 2 + 0.5).clamp(0, 1)


def _decoded(vae: Any, latents: Tensor, family: Family) -> Tensor:
    if family.quantizes:
        return vae.decode(latents, force_not_quantize=True, return_dict=False)[0]
    if family.squares:
        return vae.decode(_unwhitened(vae, latents), return_dict=False)[0]
    if family.frames:
        mean, std = (
            latents.new_tensor(vae.config[name]).view(1, -1, 1, 1, 1) for name in STATISTICS
        )
        frames = latents.unsqueeze(2) / (1.0 / std) + mean
        return vae.decode(frames, return_dict=False)[0][:, :, 0]
    scale = getattr(vae.config, "scaling_factor", 1.0) or 1.0
    mean, deviation = (vae.config.get(name) for name in STATISTICS)
    if family.normalised and mean is not None and deviation is not None:
        shape = (1, -1, 1, 1)
        latents = latents * latents.new_tensor(deviation).view(shape) / scale
        latents = latents + latents.new_tensor(mean).view(shape)
    else:
        shift = (getattr(vae.config, "shift_factor", 0.0) or 0.0) if family.shifted else 0.0
        latents = latents / scale + shift
    return vae.decode(latents, return_dict=False)[0]


def _unwhitened(vae: Any, latents: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Latents without the batch norm of the decoder, which has a mean and a variance of each place in a square (FLUX.2)."""
    norm, (rows, columns) = vae.bn, (size // 2 for size in latents.shape[2:])
    std = torch.sqrt(norm.running_var + vae.config.batch_norm_eps)
    std, mean = (
        each.to(latents.device, latents.dtype).view(-1, 2, 2).repeat(1, rows, columns)
        for each in (std, norm.running_mean)
    )
    return latents * std + mean


def _upcast(vae: Any, family: Family) -> bool:
    """Brings a decoder that overflows in float16 to float32, as its pipeline does."""
    needed = family.upcasts and vae.dtype == torch.float16 and bool(vae.config.get("force_upcast"))
    if needed:
        vae.to(torch.float32)
    return needed


def check_model(spec: ModelSpec) -> list[Component]:
    """Everything about a model that can be known without building it and without the network.

    Returns: the components of its folder; none of a Hub id that is not in the cache, which is checked when it is loaded.

    Raises:
        ModelError: the folder is missing or not a pipeline's, it asks for code, other files or absurd sizes, weights are
            absent, truncated or pickled, or the scheduler does not exist.
    """
    if spec.scheduler is not None:
        scheduler_class(spec.scheduler)
    folder = Path(spec.folder)
    if not folder.is_dir() and _looks_like_folder(spec.folder):
        raise ModelError(
            f"model {spec.name}: no folder {spec.folder!r}. Give the path of a diffusers pipeline folder "
            "(with model_index.json), or a Hub id such as 'owner/name'."
        )
    components = []
    where = folder if folder.is_dir() else cached_folder(spec.source, spec.revision)
    if where and (folder.is_dir() or is_whole(where)):
        components = check_pipeline_folder(
            where, f"model {spec.name}", spec.variant, _single_file(spec)
        )
    if spec.steps_decoder:
        decoder = Path(spec.steps_decoder)
        decoder_folder = decoder if decoder.is_dir() else cached_folder(spec.steps_decoder)
        if decoder_folder and (decoder.is_dir() or any(decoder_folder.glob("*.safetensors"))):
            components.append(check_decoder(spec, decoder_folder))
    return components


def check_tensors(spec: ModelSpec) -> None:
    """That every component of a model's folder, and its steps_decoder, has exactly the weights that it asks for, and that
    its adapters, embeddings and cache fit it.

    Raises:
        ModelError: names the component and the tensors that are missing, unexpected or of another shape; or the adapter.
    """
    components = check_model(spec)
    for component in components:
        if component.stem:
            check_weights(component)
    check_quantization(spec)
    folder = Path(spec.folder)
    where = folder if folder.is_dir() else cached_folder(spec.source, spec.revision)
    if (spec.adapters or spec.embeddings or spec.cache) and components and where:
        pipeline = getattr(diffusers, read_index(where, f"model {spec.name}")["_class_name"])
        check_adapters(spec, components, pipeline)
        check_embeddings(spec, components, pipeline)
        kinds = {component.name: component.kind for component in components}
        check_cache(spec, pipeline, next((kinds[n] for n in DENOISERS if n in kinds), nn.Module))


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
        ModelError: as `check_model` and `check_tensors`, or the weights cannot be loaded.
    """
    check_model(spec)
    advice = "If it is a Hub id, check the name, your access and the network; if it is a folder, save it again with save_pretrained."  # fmt: skip
    problem = f"model {spec.name}: {spec.source!r} could not be loaded"
    with one_line(problem, advice), no_remote_code(), no_bars():
        pipeline = _from_pretrained(spec, choose_dtype(spec.dtype, device))
    add_adapters(pipeline, spec)
    add_embeddings(pipeline, spec)
    if spec.scheduler is not None:
        chosen = scheduler_class(spec.scheduler)
        use_scheduler(pipeline, adopt_scheduler(chosen, pipeline.scheduler.config))
    pipeline.set_progress_bar_config(disable=True)
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.eval().requires_grad_(False)
    quantize(pipeline, spec)
    pipeline = place(pipeline, spec, device)
    enable_cache(pipeline, spec)
    return pipeline


def open_decoder(spec: ModelSpec, pipeline: Any) -> Any:
    """What decodes a model's steps, on the model's device: the tiny autoencoder that the study names, or a copy of its own
    decoder where that is faster; None = its own does.

    Raises:
        ModelError: it cannot be loaded, or is for latents of other channels.
    """
    if spec.steps_decoder is None:
        return _channels_last_copy(pipeline)
    decoder = _open_decoder(spec, spec.steps_decoder)
    channels = pipeline.vae.config.latent_channels
    if decoder.config.latent_channels != channels:
        raise ModelError(
            f"model {spec.name}: steps_decoder = {spec.steps_decoder!r} decodes {decoder.config.latent_channels} channels, "
            f"and the model's latents have {channels}. Choose the one made for this model."
        )
    return decoder.eval().requires_grad_(False).to(pipeline._execution_device, pipeline.vae.dtype)


def _open_decoder(spec: ModelSpec, source: str) -> Any:
    folder, advice = Path(source), "Give the folder or Hub id of an AutoencoderTiny."
    problem = f"model {spec.name}: steps_decoder = {source!r} could not be loaded"
    with one_line(problem, advice), no_remote_code():
        if not folder.is_dir():
            folder = Path(
                snapshot_download(source, allow_patterns=["config.json", "*.safetensors"])
            )
        component = check_decoder(spec, folder)
        check_weights(component)
        with view(component.files()) as view_folder:
            return AutoencoderTiny.from_pretrained(view_folder, use_safetensors=True)


def check_decoder(spec: ModelSpec, folder: Path) -> Component:
    """The folder of a model's steps_decoder, as far as it can be known without building it.

    Raises:
        ModelError: as `check_model`.
    """
    return check_decoder_folder(folder, AutoencoderTiny, f"model {spec.name}: steps_decoder = {spec.steps_decoder!r} could not be loaded")  # fmt: skip


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
    """That a Hub id is available, and is a pipeline that may be run: only its model_index.json is fetched.

    Returns: the index; that of a folder as it is.

    Raises:
        ModelError: the id does not exist, is gated, or the Hub cannot be reached; or as `check_index`.
    """
    if Path(spec.folder).is_dir():
        return read_index(Path(spec.folder), f"model {spec.name}")
    try:
        index = DiffusionPipeline.load_config(spec.source, revision=spec.revision)
    except Exception as error:
        raise ModelError(
            f"model {spec.name}: {spec.source!r} is not available from the Hub: {_one_line(error)}. Check the name, your "
            "access and the network, or give a folder."
        ) from error
    check_index(index, Path(spec.source), f"model {spec.name}")
    return index


def _from_pretrained(spec: ModelSpec, dtype: torch.dtype) -> Any:
    """Loads a view of the checked files: the folder's, or those that the Hub's cache has of an id."""
    folder, title = Path(spec.folder), f"model {spec.name}"
    if not folder.is_dir():
        folder = Path(
            DiffusionPipeline.download(
                spec.source,
                revision=spec.revision,
                variant=spec.variant,
                use_safetensors=True,
                trust_remote_code=False,
            )
        )
    components = check_pipeline_folder(folder, title, spec.variant, _single_file(spec))
    for component in components:
        if component.stem:
            check_weights(component)
    index = read_index(folder, title)
    # diffusers refuses a folder whose index has null components unless each is passed as None
    absent = {k: None for k, v in index.items() if is_component(v) and v[0] is None}
    absent |= {k: None for k in UNWANTED if k in index}
    options = {"requires_safety_checker": False} if "requires_safety_checker" in index else {}
    with pipeline_view(folder, components) as view_folder:
        return DiffusionPipeline.from_pretrained(
            view_folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            **absent,
            **options,
            **_of_single_file(components, dtype, view_folder),
        )


def _single_file(spec: ModelSpec) -> Path | None:
    """The file that a model's weights are in, where they are in one.

    Raises:
        ModelError: there is no such file, or it is no safetensors file.
    """
    if spec.config is None:
        return None
    file = Path(spec.source)
    if file.suffix != SUFFIX or not file.is_file():
        raise ModelError(f"model {spec.name}: {spec.source!r} is no safetensors file. With config, source is a single file of weights; pickles are never loaded.")  # fmt: skip
    return file


def _of_single_file(
    components: list[Component], dtype: torch.dtype, view_folder: Path
) -> dict[str, Any]:
    """The components that a single file holds, loaded as those of a folder are."""
    taken = [component for component in components if component.checkpoint]
    stored = load_file(taken[0].checkpoint) if taken and taken[0].checkpoint else {}
    models = {}
    for component in taken:
        kind: Any = component.kind
        title, folder = f"{component.title}: {component.name!r}", view_folder / component.name
        tensors = tensors_in(kind, component.name, folder, stored, title)
        if issubclass(kind, ModelMixin):
            with quiet():  # it warns of any number type
                models[component.name] = kind.from_single_file(
                    tensors, config=str(folder), local_files_only=True, dtype=dtype
                )
        else:
            config = kind.config_class.from_pretrained(folder)
            models[component.name] = kind.from_pretrained(
                None, config=config, state_dict=tensors, dtype=dtype
            )
    return models


def dtype_of(pipeline: Any) -> torch.dtype:
    """The number type of the denoiser."""
    dtype: Any = denoiser_of(pipeline).dtype
    return cast(torch.dtype, dtype)


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
