"""What can be said about a study's measures before any sampling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import psutil
import torch
from torch import nn

from pipeline.diffusion.redraw import unfit
from pipeline.errors import ModelError, StudyError
from pipeline.explain.attention import text_layers
from pipeline.explain.cam import cam_layers, choose_layers
from pipeline.explain.tools import lime_options, rise_options
from pipeline.models.families import WORDED
from pipeline.models.words import plain, split_words
from pipeline.preflight.models import Inspected, inspect_model
from pipeline.study.spec import RENAMED_SCORE, Measures, ModelSpec, ToolSpec

MEMORY_SHARE = 0.5


@dataclass(frozen=True)
class ModelFacts:
    """What the tools need to know of a model before it is loaded.

    Attributes:
        steps: denoising steps of its entry.
        attention: "cross", "joint" or "none"; "unknown" when the model isn't on this machine.
        layers: those DF-CAM can look at; empty when unknown.
        latents: channels, height, width; None when unknown.
        prompts: the texts of the study.
        memory: free bytes.
        missing: measures that its family cannot give, and why.
        beyond_paper: those that it cannot give under the paper's protocol.
    """

    name: str
    steps: int
    attention: str = "unknown"
    layers: tuple[str, ...] = ()
    latents: tuple[int, int, int] | None = None
    prompts: tuple[str, ...] = ()
    memory: int | None = None
    missing: Mapping[str, str] = field(default_factory=dict)
    beyond_paper: Mapping[str, str] = field(default_factory=dict)


def check_measures(measures: Measures, facts: ModelFacts) -> list[str]:
    """Raises what cannot be run, and returns what is left out, with the reason.

    Raises:
        StudyError: a step beyond the schedule, a layer that does not exist, a word that is in no
            prompt, or more masks than memory.
    """
    for name, tool in measures.tools().items():
        _check_steps(f"measures.{name}.steps", tool.steps or (), facts)
        wanted = tool.options.get("map_steps", ())
        if isinstance(wanted, tuple) and wanted[:1] != ("stride",):
            _check_steps(f"measures.{name}.map_steps", wanted, facts)
            _check_measured(name, wanted, tool.at(facts.steps))
        _check_words(name, tool.options.get("words", ()), facts.prompts)
    layers = measures.df_cam.options.get("layers", ()) if measures.df_cam else ()
    if facts.layers and layers:
        choose_layers(facts.layers, tuple(layers))  # type: ignore[arg-type]
    _check_design(measures)
    _check_inception(measures)
    _check_information(measures.information, facts)
    _check_memory(measures, facts)
    return _left_out(measures, facts)


def _check_steps(where: str, steps: Sequence[Any], facts: ModelFacts) -> None:
    for step in steps:
        if not 0 <= step < facts.steps:
            raise StudyError(
                f"{where} holds {step}, but model {facts.name!r} has steps 0 to "
                f"{facts.steps - 1}. Leave it out, or raise the model's steps."
            )


def _check_measured(tool: str, wanted: Sequence[Any], measured: Sequence[int]) -> None:
    """Maps can be stored of the steps that a tool looks at, and of no others."""
    unseen = [step for step in wanted if step not in measured]
    if unseen:
        raise StudyError(
            f"measures.{tool}.map_steps holds {unseen[0]}, which is not among its steps "
            f"({', '.join(map(str, measured))}). Add it to measures.{tool}.steps, or leave it out."
        )


def _check_words(tool: str, words: Any, prompts: Sequence[str]) -> None:
    known = {plain(word) for text in prompts for word in split_words(text)}
    for word in (words,) if isinstance(words, str) else words:
        if prompts and plain(word) not in known:
            raise StudyError(
                f"measures.{tool}.words holds {word!r}, which is in none of the {len(prompts)} "
                "prompts. Give a word as it stands in a prompt."
            )


def _check_memory(measures: Measures, facts: ModelFacts) -> None:
    if facts.latents is None:
        return
    _, height, width = facts.latents
    free = psutil.virtual_memory().available if facts.memory is None else facts.memory
    wanted = {
        "df-rise.masks": rise_options(measures.df_rise, measures.protocol).masks
        if measures.df_rise
        else 0,
        "lime.perturbations": lime_options(measures.lime, measures.protocol).perturbations
        if measures.lime
        else 0,
    }
    for key, count in wanted.items():
        need = 2 * 4 * count * height * width
        if need > free * MEMORY_SHARE:
            most = int(free * MEMORY_SHARE) // (8 * height * width)
            raise StudyError(
                f"measures.{key} = {count} needs {need / 1e9:.1f} GB for model {facts.name!r}, of "
                f"{free / 1e9:.1f} GB that are free. Give at most {most}."
            )


def _check_design(measures: Measures) -> None:
    """Balanced masks keep half of the cells."""
    if measures.df_rise is None or measures.protocol == "park2024":
        return
    options = rise_options(measures.df_rise, measures.protocol)
    if options.design not in (None, "independent") and options.probability != 0.5:
        raise StudyError(
            f"measures.df-rise.probability = {options.probability} does not go with design = {options.design!r}, which "
            'keeps half of the cells. Leave probability out, or give design = "independent".'
        )


def _check_information(tool: ToolSpec | None, facts: ModelFacts) -> None:
    """Information is an integral over noise levels."""
    if tool is not None and len(tool.at(facts.steps)) < 2:
        raise StudyError(
            f"measures.information.steps holds {len(tool.at(facts.steps))} of the {facts.steps} steps of model {facts.name!r}, and information "
            'is an integral over noise levels. Give at least two, or "all".'
        )


def _check_inception(measures: Measures) -> None:
    """The score and similarity "inception" need weights; "fid" was a distance of CLIP vectors, which "clip" says already."""
    asked = {
        "measures.df-rise.similarity": (_option(measures.df_rise, "similarity"),),
        "measures.faithfulness.scores": _option(measures.faithfulness, "scores") or (),
    }
    for key, values in asked.items():
        if RENAMED_SCORE in values:
            raise StudyError(
                f'{key} holds "fid", which was a distance of CLIP vectors, 2 - 2 cos. Give "clip" for their cosine, or '
                '"inception" with measures.inception for the paper\'s distance.'
            )
        if "inception" in values and measures.inception is None:
            raise StudyError(
                f'{key} holds "inception", which needs measures.inception = "FILE.safetensors". docs/paper.md says how to '
                "convert the weights."
            )


def _option(tool: ToolSpec | None, key: str) -> Any:
    return tool.options.get(key) if tool else None


def scheduler_of(model: Inspected) -> type:
    """The scheduler's class that a run will use; `object` where diffusers knows none of that name."""
    named = model.index.get("scheduler")
    saved = named[1] if isinstance(named, list) and len(named) == 2 else ""
    return getattr(diffusers, str(model.spec.scheduler or saved), object)


def _left_out(measures: Measures, facts: ModelFacts) -> list[str]:
    missing = dict(facts.beyond_paper if measures.protocol == "park2024" else {})
    missing |= facts.missing
    if facts.attention == "none" and not facts.missing:
        missing |= dict.fromkeys(WORDED, "it has no attention to words that can be read")
    return [
        f"model {facts.name!r}: {name} is left out because {missing[name]}; the other measures run."
        for name in measures.tools()
        if name in missing
    ]


def read_facts(
    spec: ModelSpec, prompts: Sequence[str] = (), denoiser: nn.Module | None = None
) -> ModelFacts:
    """The facts of a model entry from its folder's configuration; weights are not loaded.

    A Hub id's facts are unknown until `facts_of` has been given what the Hub says.
    """
    if not Path(spec.folder).is_dir() and denoiser is None:
        return ModelFacts(spec.name, spec.steps, prompts=tuple(prompts))
    return facts_of(inspect_model(spec), prompts, denoiser)


def facts_of(
    model: Inspected, prompts: Sequence[str] = (), denoiser: nn.Module | None = None
) -> ModelFacts:
    """The facts of a model whose configuration has been read."""
    spec, family = model.spec, model.family
    module = _skeleton(model) if denoiser is None else denoiser
    missing, beyond = dict(family.missing()), family.missing("park2024")
    if problem := unfit(scheduler_of(model)):
        missing["critical-windows"] = problem
    if module is None:
        return ModelFacts(
            spec.name,
            spec.steps,
            family.attention,
            prompts=tuple(prompts),
            missing=missing,
            beyond_paper=beyond,
        )
    if family.attention != "none" and (problem := _unreadable(module)):
        missing |= dict.fromkeys(WORDED, problem)
    return ModelFacts(
        spec.name,
        spec.steps,
        attention="none" if "attention" in missing else family.attention,
        layers=tuple(cam_layers(module, family.cam)),
        latents=_latents(module, spec),
        prompts=tuple(prompts),
        missing=missing,
        beyond_paper=beyond,
    )


def _skeleton(model: Inspected) -> nn.Module | None:
    """The denoiser without weights."""
    name = model.family.denoiser
    if name not in model.configs:
        return None
    with torch.device("meta"):
        return getattr(diffusers, model.index[name][1]).from_config(model.configs[name])


def _unreadable(module: nn.Module) -> str:
    """Why attention to words cannot be read from a module of a family that has it; '' if it can."""
    try:
        return "" if text_layers(module) else "its denoiser has no attention to text"
    except ModelError as error:
        return str(error)


def _latents(module: Any, spec: ModelSpec) -> tuple[int, int, int] | None:
    size = module.config.get("sample_size")
    if not isinstance(size, int):
        return None
    return int(module.config.in_channels), size, size
