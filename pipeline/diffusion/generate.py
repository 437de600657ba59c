"""The pipeline's own call for a batch of prompts, one generator a sample."""

from __future__ import annotations

import copy
import difflib
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTokenizer, ProcessorMixin

from pipeline.diffusion.guiders import guided_at
from pipeline.errors import ModelError
from pipeline.models import loading
from pipeline.models.caches import reset_cache
from pipeline.models.families import Family
from pipeline.study.prompts import Prompt
from pipeline.study.spec import ModelSpec


def prompt_window(pipeline: Any, family: Family) -> tuple[Any, int | None]:
    """The tokenizer that takes in most of a prompt, and how many tokens it keeps (None = no limit is known)."""
    named = (getattr(pipeline, name, None) for name in family.tokenizer)
    tokenizer = next((one for one in named if one is not None), None)
    if isinstance(tokenizer, ProcessorMixin):
        tokenizer = getattr(tokenizer, "tokenizer", None)
    limit = getattr(tokenizer, "model_max_length", None)
    longest = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
    if longest is not None and not isinstance(tokenizer, CLIPTokenizer):
        limit = longest.default  # CLIP's window is its own, whatever the call says
    elif longest is None:
        limit = getattr(pipeline, "tokenizer_max_length", limit)  # HunyuanImage sets its own
    return tokenizer, limit if limit is not None and limit <= 100_000 else None


def generate(
    pipeline: Any,
    model: ModelSpec,
    prompts: Sequence[Prompt],
    seed: int,
    schedule: dict[str, Any],
) -> Tensor:
    """The final images of a batch, "b 3 H W" in [0, 1]: a plain call of diffusers' own pipeline.

    Each prompt has its own generator, `torch.Generator().manual_seed(seed)`: the image is the one that anybody gets from
    the same pipeline, prompt and seed.
    """
    accepted = inspect.signature(pipeline.__call__).parameters
    family = loading.family_of(pipeline)
    wanted: dict[str, Any] = {
        **_conditions(pipeline, family, model, prompts),
        "num_inference_steps": model.steps,
        family.guided: model.guidance,
        "height": model.height,
        "width": model.width,
        "generator": [torch.Generator().manual_seed(seed) for _ in prompts],
        "output_type": family.output,
        **fixed_arguments(pipeline, family),
        **schedule,
    }
    call = {k: v for k, v in wanted.items() if k in accepted and v is not None}
    call |= {k: v for k, v in as_asked(model, family).items() if k in accepted}
    reset_cache(pipeline, model)
    logging.getLogger("diffusers").setLevel(logging.ERROR)  # cut prompts are reported per item
    guided = guided_at(loading.stage_of(pipeline), model.guidance)
    with torch.no_grad(), _seeded(seed, pipeline._execution_device), guided:
        output = pipeline(**call)
    images = output.images if hasattr(output, "images") else output[0]
    if not isinstance(images, Tensor):
        images = torch.from_numpy(images).permute(0, 3, 1, 2)
    return images.float()


def _conditions(
    pipeline: Any, family: Family, model: ModelSpec, prompts: Sequence[Prompt]
) -> dict[str, Any]:
    """What the images are to be of: prompts, labels, or only how many there are to be."""
    texts = [prompt.text for prompt in prompts]
    if family.takes == "label":
        return {"class_labels": label_ids(pipeline.labels, texts)}
    if family.takes == "nothing":
        return {"batch_size": len(prompts)}
    wanted = model.negative_prompt or (family.neutral if model.guidance > family.off else "")
    return {"prompt": texts, "negative_prompt": [wanted] * len(prompts) if wanted else None}


def fixed_arguments(pipeline: Any, family: Family) -> dict[str, Any]:
    """Arguments of the call without which the words, or a small model, would not be what they are taken for."""
    fixed: dict[str, Any] = {
        "clean_caption": False
    }  # cleaning would need packages, and change words
    if "text_encoder_3" in pipeline.components and pipeline.text_encoder_3 is None:
        # else 256 zero tokens stand for the missing T5 and are attended to
        fixed["max_sequence_length"] = 1
    config: Any = loading.denoiser_of(pipeline).config
    if family.bins and config.get("sample_size") not in family.bins:
        fixed["use_resolution_binning"] = False
    return fixed


def as_asked(model: ModelSpec, family: Family) -> dict[str, Any]:
    """Arguments without which a class may take other steps, and one without an entry another size or guidance, than is asked for."""
    arguments: dict[str, Any] = {}
    if not family.known:
        arguments |= {"use_resolution_binning": False, "guidance_schedule": None}
    if not family.known and model.height and model.width:
        arguments["max_area"] = model.height * model.width
    if model.steps != 2:  # a timestep that SANA-Sprint puts between two steps
        arguments["intermediate_timesteps"] = None
    return arguments


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generator seeded, for pipelines that don't pass theirs to the scheduler (DiT)."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed % 2**63)
        yield


def label_ids(labels: Mapping[str, int], texts: Sequence[str]) -> list[int]:
    """The numbers of class labels; a label may be named or numbered.

    Args:
        labels: name -> number, as a class-conditional pipeline has them; empty = any number goes.
        texts: the prompts.

    Raises:
        ModelError: a text is no label; close ones are named.
    """
    known = {name.strip().lower(): int(number) for name, number in labels.items()}
    numbers = set(known.values())
    ids = []
    for text in texts:
        name = text.strip().lower()
        if name.isdecimal() and (int(name) in numbers or not known):
            ids.append(int(name))
        elif name in known:
            ids.append(known[name])
        else:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or list(known)[:3]
            raise ModelError(
                f"prompt {text[:80]!r} is no class label of this model, which takes one of {len(known)} labels or their "
                f"numbers, such as {', '.join(close)}."
            )
    return ids


def count_calls(scheduler: Any, steps: int, schedule: dict[str, Any]) -> int:
    """How many denoiser calls a run makes: steps, or nearly twice that for second-order schedulers."""
    trial = copy.deepcopy(scheduler)
    options: dict[str, Any] = {k: v for k, v in schedule.items() if k in ("timesteps", "sigmas")}
    if getattr(scheduler.config, "use_dynamic_shifting", False):
        options["mu"] = 1.0
    if not options.keys() & {"timesteps", "sigmas"}:
        options["num_inference_steps"] = steps
    if "intermediate_timesteps" in inspect.signature(trial.set_timesteps).parameters:
        return steps  # sCM, whose table ends with the image's own timestep
    trial.set_timesteps(**options)
    return len(trial.timesteps)
