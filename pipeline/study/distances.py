"""[[distance]]: how far each entry's final images are from those of a reference entry."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.study.settings import Table, hint, show
from pipeline.study.spec import DistanceSpec, ModelSpec

KINDS = ("lpips", "dino", "ssim", "psnr")
MAX_DISTANCES = 9
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")  # of a score
WEIGHTS = {
    "lpips": "Give a .safetensors file; docs/bring-your-own.md shows how to convert the published weights.",
    "dino": "Give the folder of a DINOv2 or DINO model in transformers' layout.",
}


def take_distances(
    top: Table,
    models: Sequence[ModelSpec],
    resolve: Callable[[str], Path] | None = None,
    *,
    frames: bool = False,
) -> tuple[DistanceSpec, ...]:
    """The distances that a study asks for; none where it names none.

    Args:
        top: the study's table.
        models: its entries.
        resolve: finds a path that the study names; None = files need not exist.
        frames: whether the study records frames, which a distance per step compares.

    Raises:
        StudyError: a key is unknown, missing or out of range, a name is used twice, the weights do not exist, the reference is
            no model of the study, or steps are compared and none is recorded.
    """
    if not top.has("distance"):
        return ()
    tables = top.take_tables("distance", MAX_DISTANCES)
    names = [model.name for model in models]
    specs = tuple(_distance(table, names, resolve) for table in tables)
    if not frames and (stepped := next((spec for spec in specs if spec.steps), None)):
        raise top.fail("distance", f"{stepped.name!r} has steps = true, which compares recorded frames, and the study records none. Add [measures.frames], or leave out steps.")  # fmt: skip
    for name, times in Counter(spec.name for spec in specs).items():
        if times > 1:
            raise top.fail(
                "distance",
                f'holds {show(name)} {times} times. Give each [[distance]] a name of its own, as name = "{name[:38]}-2".',
            )
    return specs


def _distance(
    table: Table, names: Sequence[str], resolve: Callable[[str], Path] | None
) -> DistanceSpec:
    kind = table.take_choice("kind", KINDS)
    name = table.take_text("name", kind, empty=False)
    if not NAME.fullmatch(name):
        raise table.fail(
            "name",
            f"= {show(name)} is not a name. Allowed: a-z, 0-9, '.', '_' and '-', at most 40, the first a letter or digit.",
        )
    table.name = f"distance {name!r}"
    weights = _weights(table, kind, resolve) if kind in WEIGHTS else None
    reference = table.take_text("reference", empty=False)
    if reference not in names:
        raise table.fail(
            "reference", f"= {show(reference)} is no model of this study. {hint(reference, names)}"
        )
    steps = table.take_flag("steps", False)
    table.finish()
    return DistanceSpec(kind, weights, reference, name, steps)


def _weights(table: Table, kind: str, resolve: Callable[[str], Path] | None) -> str:
    """The file or folder of the weights."""
    written = table.take_place("weights")
    if resolve is None:
        return written
    path = resolve(written)
    if path.is_file() if kind == "lpips" else path.is_dir():
        return str(path)
    problem = "does not exist"
    if path.exists():
        problem = "is a folder, not a file" if path.is_dir() else "is a file, not a folder"
    raise table.fail("weights", f"= {show(written)} {problem}. {WEIGHTS[kind]}")
