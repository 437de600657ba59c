"""A [[model]] whose images exist: `images = PATH` in place of `source`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import StudyError
from pipeline.study.settings import Table, show
from pipeline.study.spec import LAYOUTS, Measures, ModelSpec


def take_images(table: Table, name: str, resolve: Callable[[str], Path] | None = None) -> ModelSpec:
    """The entry of a model whose images exist. It has one step, and no setting of a sampled model.

    Args:
        table: the entry's table.
        name: the model's name.
        resolve: finds a path that the study names; None = files need not exist.

    Raises:
        StudyError: the path does not exist, or a key belongs to a sampled model.
    """
    if table.has("source"):
        raise table.fail("images", "and source exclude each other. Keep one.")
    source = table.take_place("images")
    if resolve is not None:
        path = resolve(source)
        if not path.exists():
            raise table.fail(
                "images",
                f"= {show(source)} does not exist. Give a folder of images, or a list of them.",
            )
        source = str(path)
    spec = ModelSpec(
        name=name,
        label=table.take_text("label", name, empty=False),
        source=source,
        steps=1,
        guidance=1.0,
        layout=table.take_choice("layout", LAYOUTS, "auto"),
        tiles=table.take_optional_whole("tiles", 1, 100),
        checkpoint=table.take_optional_whole("checkpoint", 0, 1_000_000_000),
    )
    table.finish()
    return spec


def of_sampled(measures: Measures, models: Sequence[ModelSpec], path: Path) -> Measures:
    """The measures with tools for sampled models alone: images that exist have no steps to explain.

    Raises:
        StudyError: a tool names a model whose images exist.
    """
    imported = [model.name for model in models if model.imported]
    if not imported:
        return measures
    sampled = tuple(model.name for model in models if not model.imported)
    changed: dict[str, Any] = {}
    for name, tool in measures.tools().items():
        for wanted in tool.models or ():
            if wanted in imported:
                raise StudyError(
                    f"{path}: measures.{name}.models holds {show(wanted)}, whose images exist: it has no denoising steps to "
                    "explain. Leave it out."
                )
        chosen = replace(tool, models=tool.models or sampled) if sampled else None
        changed[name.replace("-", "_")] = chosen
    return replace(measures, **changed)
