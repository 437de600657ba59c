"""How much work a work unit is: denoiser calls, which the time of a work unit follows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from pipeline.models.files import read_object
from pipeline.study.pairs import pair_steps, pairs_of
from pipeline.study.plan import Plan, WorkUnit
from pipeline.study.prompts import Prompt
from pipeline.study.spec import GAMES, METHODS, ModelSpec, ToolSpec
from pipeline.study.windows import window_calls

SALIENCY = set(METHODS)


def work_unit_calls(plan: Plan, work_unit: WorkUnit) -> int:
    """Denoiser calls of sampling and of every tool, over all images of a work unit (both guidance halves = one call)."""
    index = plan.study.seeds.index(work_unit.seed)
    calls = len(work_unit) * work_unit.model.steps
    for name, tool in plan.study.measures.of(work_unit.model.name, index).tools().items():
        calls += tool_calls(name, tool, plan, work_unit.model, work_unit.prompts)
    return calls


def tool_calls(
    name: str, tool: ToolSpec, plan: Plan, model: ModelSpec, prompts: Sequence[Prompt]
) -> int:
    """Denoiser calls of a tool over some prompts of the study, one seed each."""
    if name == "switch":
        pairs = sum(len(pairs_of(prompt, tool)) for prompt in prompts)
        return pairs * pair_steps(tool, model.steps)
    if name == "critical-windows":
        most = len(plan.prompts) if tool.prompts is None else tool.prompts
        redrawn = sum(prompt.position < most for prompt in prompts)
        return redrawn * window_calls(tool, model.steps)
    if name == "information":
        from pipeline.explain.information import information_calls  # loads torch

        return sum(information_calls(prompt, tool, model.steps) for prompt in prompts)
    most = len(plan.prompts) if tool.prompts is None else tool.prompts
    explained = sum(prompt.position < most for prompt in prompts)
    return explained * len(tool.at(model.steps)) * calls_per_step(name, tool, plan, model)


def calls_per_step(name: str, tool: ToolSpec, plan: Plan, model: ModelSpec) -> int:
    """Denoiser calls of a tool at one step: a gradient counts as two more calls."""
    if name in ("df-rise", "lime"):
        from pipeline.explain.tools import lime_options, rise_options  # loads torch

        protocol = plan.study.measures.protocol
        if name == "df-rise":
            return rise_options(tool, protocol).masks
        return lime_options(tool, protocol).perturbations
    if name == "concept-attention":  # the conditional half, with more text
        return 1
    if name in ("df-cam", "relevance"):
        return 3
    if name == "faithfulness":
        named = tool.options.get("methods", tuple(SALIENCY & plan.study.measures.tools().keys()))
        games = tool.options.get("games", GAMES)
        assert isinstance(named, tuple) and isinstance(games, tuple)
        from pipeline.explain.removal import baselines_of  # loads torch
        from pipeline.metrics.baselines import calls_per_point

        # Each map, its inverse, and one random map; a point per row of latents, and the first.
        points = len(games) * (2 * len(named) + 1) * (latent_rows(model) + 1)
        return points * sum(calls_per_point(baseline) for baseline in baselines_of(tool))
    return 0


@lru_cache
def latent_rows(model: ModelSpec) -> int:
    """Rows of the latents, from the model's configuration; 64, as in Stable Diffusion, where it is not here."""
    for component in ("unet", "transformer"):
        file = Path(model.folder) / component / "config.json"
        if file.is_file():
            size = read_object(file, f"model {model.name}").get("sample_size")
            return size if isinstance(size, int) else 64
    return 64
