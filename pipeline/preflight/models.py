"""What a study asks of a model, against what its pipeline class takes: refused or noticed by name before any sampling."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING
from huggingface_hub.errors import EntryNotFoundError

from pipeline.diffusion.generate import label_ids
from pipeline.diffusion.noise import has_angles
from pipeline.diffusion.timesteps import apply_schedule
from pipeline.errors import ModelError
from pipeline.models import loading
from pipeline.models.configs import check_component_config
from pipeline.models.families import PARTS, REPLAYED, Family, family_named
from pipeline.models.folders import check_index, is_component, read_index
from pipeline.models.prediction import is_flow, prediction_type
from pipeline.study.spec import Measures, ModelSpec

LEVELS = ("block_out_channels", "encoder_block_out_channels", "dim_mult")
"""Where a decoder's configuration has one entry for each of its resolutions."""
INSIDE = ("attention", "relevance", "df-cam", "concept-attention")


@dataclass(frozen=True)
class Inspected:
    """What is known of a model without its weights.

    Attributes:
        index: its model_index.json.
        pipeline: the diffusers class.
        family: what the tools know of it.
        configs: the configuration of each component that has one.
    """

    spec: ModelSpec
    index: Mapping[str, Any]
    pipeline: type
    family: Family
    configs: Mapping[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        """As messages call it."""
        return f"model {self.spec.name}"

    def takes(self, argument: str) -> bool:
        """Whether the pipeline's call has an argument."""
        return argument in inspect.signature(self.pipeline.__call__).parameters


def inspect_model(spec: ModelSpec) -> Inspected:
    """Reads a model's configuration, from its folder or the Hub; no weights.

    Raises:
        ModelError: it is not available, or is not allowed to run.
    """
    folder = Path(spec.folder)
    if folder.is_dir():
        index = read_index(folder, f"model {spec.name}")
        check_index(index, folder, f"model {spec.name}")
    else:
        index = loading.check_reachable(spec)
    wanted = index["_class_name"]
    components = {name: entry for name, entry in index.items() if is_component(entry) and entry[0]}
    configs: dict[str, Mapping[str, Any]] = {
        name: config
        for name in ("unet", "transformer", "vae", "movq", "scheduler")
        if name in components and (config := _config(spec, name, components[name][1]))
    }
    return Inspected(
        spec, index, getattr(diffusers, wanted), family_named(wanted, components), configs
    )


def _config(spec: ModelSpec, component: str, kind: str) -> Mapping[str, Any] | None:
    known = getattr(diffusers, kind, None)
    if known is None:
        return None
    where: dict[str, Any] = {"subfolder": component}
    if not Path(spec.folder).is_dir():
        where["revision"] = spec.revision
    try:
        config = known.load_config(spec.folder, **where)
    except (OSError, EntryNotFoundError, ValueError) as error:
        raise ModelError(
            f"model {spec.name}: the configuration of {component!r} cannot be read: {' '.join(str(error).split())[:200]}. "
            "Download or save the model again."
        ) from error
    check_component_config(config, f"model {spec.name}: the configuration of {component!r}", known)
    return config


def check_call(model: Inspected, texts: Sequence[str] = ()) -> list[str]:
    """Raises what the model cannot be asked for, and returns what has no effect on it.

    Args:
        model: as `inspect_model` found it.
        texts: the study's prompts.

    Raises:
        ModelError: half a model, one that needs more than a prompt, a size, negative prompt, label, scheduler, schedule
            or memory setting that it does not take.
    """
    _check_class(model)
    _check_conditions(model)
    _check_size(model)
    _check_labels(model, texts)
    check_scheduler(model)
    _check_settings(model)
    return [*_class_notices(model), *_guidance_notices(model)]


def check_compiled(spec: ModelSpec, measures: Measures) -> None:
    """Refuses measures that look inside a denoiser which is compiled into one piece.

    Raises:
        ModelError: names them.
    """
    inside = [name for name in INSIDE if name in measures.tools()]
    if spec.compile and inside:
        raise ModelError(
            f"model {spec.name}: compile = true hides the layers that {', '.join(inside)} look into. Leave out compile, "
            "or these measures."
        )


def class_problem(kind: type) -> str:
    """Why a pipeline class makes no image of a prompt alone; "" where it does."""
    if kind.__name__ in PARTS:
        return (
            f"{kind.__name__} is a part of a model and makes no image of a prompt. Save the whole of it, "
            f"{PARTS[kind.__name__]}, into one folder with save_pretrained."
        )
    parameters = inspect.signature(kind.__call__).parameters.values()
    if any(p.name == "num_frames" for p in parameters):
        return f"{kind.__name__} makes videos, not images. Choose a text-to-image pipeline."
    standard = {"self", "prompt", "class_labels", "args", "kwargs"}
    needed = [p.name for p in parameters if p.default is p.empty and p.name not in standard]
    inputs = [p.name for p in parameters if p.name in ("image", "mask_image", "control_image")]
    if inputs == ["image"] and _also_edits(kind):
        inputs = []
    if needed or inputs:
        return (
            f"{kind.__name__} makes no image of a prompt alone; it also wants {', '.join(needed or inputs)}. Choose a "
            "text-to-image pipeline."
        )
    return ""


def _also_edits(kind: type) -> bool:
    """Whether a class makes images of a prompt and edits images too, as FLUX.2 does; a ControlNet needs its image."""
    listed = kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()
    return listed and "controlnet" not in inspect.signature(kind).parameters


def _check_class(model: Inspected) -> None:
    problem = class_problem(model.pipeline)
    if problem:
        raise ModelError(f"{model.name}: {problem}")


def _check_conditions(model: Inspected) -> None:
    spec = model.spec
    for key in ("height", "width"):
        if getattr(spec, key) is not None and not model.takes(key):
            raise ModelError(
                f"{model.name}: {key} = {getattr(spec, key)}, but {model.pipeline.__name__} takes no {key}: its images "
                "have the size it was trained on. Leave it out."
            )
    reason = model.family.no_negative or _without_guider(model)
    if spec.negative_prompt and (reason or not model.takes("negative_prompt")):
        raise ModelError(
            f"{model.name}: negative_prompt cannot be used with {model.pipeline.__name__}: "
            f"{reason or 'it takes none'}. Leave it out."
        )


def _without_guider(model: Inspected) -> str:
    """Why a class that guides by a component has no unconditional half where its folder has none; "" where it has (HunyuanImage)."""
    if "guider" not in inspect.signature(model.pipeline).parameters or model.index.get("guider", [None])[0]:  # fmt: skip
        return ""
    return "without a guider its guidance is a number it is given, without an unconditional half"


def _check_size(model: Inspected) -> None:
    step = size_step(model)
    for key in ("height", "width"):
        value = getattr(model.spec, key)
        if value is not None and value % step:
            raise ModelError(
                f"{model.name}: {key} = {value} is not a multiple of {step}, as {model.pipeline.__name__} needs. Give "
                f"{max(step, value - value % step)} or {value - value % step + step}."
            )
        most = most_tokens(model) * step
        if value is not None and most and value > most:
            raise ModelError(
                f"{model.name}: {key} = {value} is beyond the {most} px that its position embedding reaches. Give less."
            )


def most_tokens(model: Inspected) -> int:
    """How many tokens along one side a learned table of positions reaches; 0 = any number."""
    reach = int(model.configs.get(model.family.denoiser, {}).get("pos_embed_max_size") or 0)
    return math.isqrt(reach) if model.family.name == "auraflow" else reach  # which counts them all


def size_step(model: Inspected) -> int:
    """What the sides of an image must be a multiple of: latents and tokens are whole; 1 where any will do."""
    sample = model.configs.get(model.family.denoiser, {}).get("sample_size")
    if model.family.quantizes or not model.family.decoder or sample in model.family.bins:
        return 1
    decoder = model.configs.get(model.family.decoder, {})
    blocks = next((decoder[name] for name in LEVELS if decoder.get(name)), [1])
    config = model.configs.get(model.family.denoiser, {})
    patch = config.get("patch_size") or max(config.get("all_patch_size") or [1])
    side = (
        patch[-1] if isinstance(patch, list) and patch else patch
    )  # of a frame's, where frames count too
    tokens = side if type(side) is int else 1
    return 2 ** (len(blocks) - 1) * (model.family.packed if model.family.packed > 1 else tokens)


def _check_labels(model: Inspected, texts: Sequence[str]) -> None:
    if model.family.takes != "label":
        return
    labels = model.index.get("id2label") or {}
    known = {name: int(key) for key, names in labels.items() for name in names.split(",")}
    try:
        label_ids(known, texts)
    except ModelError as error:
        raise ModelError(f"{model.name}: {error}") from None


def open_scheduler(model: Inspected) -> Any:
    """The scheduler that the study asks for, under the model's own configuration; None if there is none to read."""
    config = model.configs.get("scheduler")
    if config is None:
        return None
    default: Any = loading.scheduler_class(model.index["scheduler"][1])
    wanted = model.spec.scheduler
    chosen: Any = loading.scheduler_class(wanted) if wanted else default
    return loading.adopt_scheduler(chosen, default.from_config(config).config)


def check_scheduler(model: Inspected) -> Any:
    """The scheduler that the study asks for, if the model can be sampled with it; None if there is none to read.

    Raises:
        ModelError: it reads the denoiser's output otherwise, needs scaled noise where the pipeline scales none, or does
            not take the schedule.
    """
    scheduler = open_scheduler(model)
    if scheduler is None:
        return None
    spec, name = model.spec, type(scheduler).__name__
    default: Any = loading.scheduler_class(model.index["scheduler"][1])
    trained = prediction_type(default.from_config(model.configs["scheduler"]))
    if (trained == "flow") != is_flow(scheduler):
        reads = "flow" if is_flow(scheduler) else "noise"
        raise ModelError(
            f"{model.name}: scheduler = {name!r} reads the denoiser's output as {reads}, but it was trained for {trained}. "
            f"`python -m pipeline schedulers {spec.folder}` lists those that fit."
        )
    if model.family.trigflow and not has_angles(scheduler):
        raise ModelError(
            f"{model.name}: scheduler = {name!r} has no timesteps that are angles, which {model.pipeline.__name__} needs. Leave it out."
        )
    if not model.family.scales and needs_scaling(scheduler):
        raise ModelError(
            f"{model.name}: scheduler = {name!r} needs noise scaled to its sigmas, which {model.pipeline.__name__} does "
            "not do, so its images would be noise. Choose one such as DDIMScheduler or DPMSolverMultistepScheduler."
        )
    apply_schedule(scheduler, spec.schedule, spec.gamma, spec.steps, model.pipeline)
    return scheduler


def needs_scaling(scheduler: Any) -> bool:
    """Whether a scheduler holds x = x0 + sigma eps, and so wants noise of its first sigma's size."""
    if prediction_type(scheduler) == "flow" or has_angles(scheduler):
        return False
    scheduler.set_timesteps(10)
    return float(getattr(scheduler, "init_noise_sigma", 1.0)) > 1.5


def _check_settings(model: Inspected) -> None:
    kind = (model.index.get(model.family.decoder) or [None, ""])[1]
    for key, method in (("vae_tiling", "use_tiling"), ("vae_slicing", "use_slicing")):
        if getattr(model.spec, key) and not hasattr(_skeleton(model, kind), method):
            what = f"its decoder {kind}" if kind else "a model without a decoder"
            raise ModelError(f"{model.name}: {key} is not offered by {what}. Leave it out.")
    if model.spec.steps_decoder and (model.family.frames or model.family.squares):
        raise ModelError(
            f"{model.name}: steps_decoder cannot be used with {model.pipeline.__name__}, whose latents no AutoencoderTiny "
            "decodes. Leave it out."
        )
    if model.spec.steps_decoder and not model.family.decoder:
        raise ModelError(
            f"{model.name}: steps_decoder has nothing to decode: {model.pipeline.__name__} works on pixels. Leave it out."
        )


def _skeleton(model: Inspected, kind: str) -> Any:
    """The decoder without weights."""
    if model.family.decoder not in model.configs:
        return None
    with torch.device("meta"):
        return getattr(diffusers, kind).from_config(model.configs[model.family.decoder])


def _class_notices(model: Inspected) -> list[str]:
    name, family = model.pipeline.__name__, model.family
    if not family.known:
        return [
            f"{model.name}: {name} is not in the table of families. It is sampled, and its predicted clean images, "
            f"concepts, frames and spectra are measured; attention, {', '.join(REPLAYED)} are not available, because which "
            "module denoises and how it is guided is not known. docs/families.md shows how to add it."
        ]
    if family.takes == "nothing":
        return [
            f"{model.name}: no prompt reaches {name}: all prompts of one seed give the same image, and the similarity with "
            "a prompt says nothing about following it."
        ]
    return []


def _guidance_notices(model: Inspected) -> list[str]:
    spec, denoiser = model.spec, model.configs.get(model.family.denoiser, {})
    embeds_guidance = denoiser.get("guidance_embeds", True) and (
        model.family.name != "unet-lcm" or denoiser.get("time_cond_proj_dim") is not None
    )
    if (
        not model.takes(model.family.guided)
        or (model.index.get("is_distilled") is True and model.family.name == "flux2-klein")
        or ((model.family.guidance == "embedded" or _without_guider(model)) and not embeds_guidance)
    ):
        return [f"{model.name}: guidance has no effect: this model does not take a guidance scale."]
    off = model.family.off
    if spec.negative_prompt and spec.guidance <= off:
        return [
            f"{model.name}: negative_prompt has no effect while guidance is off ({off:g} or less)."
        ]
    return []
