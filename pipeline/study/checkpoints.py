"""A training run's checkpoints on the disk: an entry with `checkpoints = "out/checkpoint-*"` as one entry for each of them.

A checkpoint is a folder with a whole pipeline, or an adapter on the pipeline that the entry names as its source.

Nothing here loads a model: a checkpoint that is still being written is told by its files' lengths.
"""

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipeline.errors import StudyError
from pipeline.study.adapters import adapter_files
from pipeline.study.settings import Table, show

MAX_CHECKPOINTS = 100
MAX_ENTRIES = 10_000  # of the folder that holds them
MAX_JSON = 2**20  # bytes of model_index.json, or of an index of weights
MAX_HEADER = 100_000_000  # bytes; safetensors' own limit
MAX_STEP = 10**12
NAME = re.compile(r"\w[\w.-]{0,99}")  # of a component
STEP = r"[0-9]{1,12}"
# What a file that is not written to its end, or by another program, can raise.
PARTIAL = (
    OSError,
    RuntimeError,  # a link that leads to itself
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    struct.error,
    RecursionError,
)


class NoCheckpoint(StudyError):
    """A pattern of checkpoints that no whole folder matches; there may be one later."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder that a pattern matches, or the file of an adapter.

    Attributes:
        folder: the folder, or that file.
        step: the number in its name.
        problem: why it cannot be used (yet), "" for a whole one.
    """

    folder: Path
    step: int
    problem: str


def expand(table: Table, parent: Path) -> tuple[list[Table], list[str]]:
    """The entries of an entry with `checkpoints`, by training step, and one line for each folder that is left out.

    Args:
        table: the entry, whose `checkpoints` ends in a folder name with one '*'.
        parent: the folder of the checkpoints, as it lies on this machine.

    Raises:
        NoCheckpoint: there is no whole checkpoint.
        StudyError: the pattern is not one, `training_step` is given too, or there are too many.
    """
    name = table.take_text("name", empty=False)
    table.name = f"model {show(name)}"
    if table.has("training_step"):
        raise table.fail("training_step", "and checkpoints exclude each other. Keep one.")
    pattern = folder_pattern(table)
    folders = list(find(parent, pattern, adapters=table.has("source")))
    complete = [each for each in folders if not each.problem]
    if len(complete) > MAX_CHECKPOINTS:
        raise table.fail(
            "checkpoints",
            f"matches {len(complete)} checkpoints. Allowed: at most {MAX_CHECKPOINTS}. Narrow it, as checkpoint-*000.",
        )
    _refuse_same_step(table, complete)
    left_out = [f"{table.name}: {each.folder} is left out: {each.problem}" for each in folders if each.problem]  # fmt: skip
    if not complete:
        why = f" {left_out[0]}." if left_out else ""
        wanted = "whole adapter" if table.has("source") else "whole checkpoint"
        advice = (
            "Give adapters that save_lora_weights wrote"
            if table.has("source")
            else "Give folders that save_pretrained wrote"
        )
        raise NoCheckpoint(
            f"{table.file}: {table.key_name('checkpoints')} = {show(str(parent / pattern))} matches no {wanted}.{why} "
            f"{advice}, such as out/checkpoint-500."
        )
    return [_entry(table, name, each) for each in complete], left_out


def folder_pattern(table: Table) -> str:
    """The last part of `checkpoints`: a folder's name in which one '*' stands for digits.

    Raises:
        StudyError: it has no '*' or several, or there is one before it.
    """
    value = table.take_place("checkpoints")
    above, _, name = value.rstrip("/").rpartition("/")
    if name.count("*") != 1 or re.search(r"[*?\[\]]", above + name.replace("*", "")):
        raise table.fail(
            "checkpoints",
            f"= {show(value)} is no pattern of checkpoints. Allowed: a path whose last part has one '*', which stands for the "
            "training step, as out/checkpoint-*.",
        )
    return name


def find(parent: Path, pattern: str, *, adapters: bool = False) -> Iterator[Checkpoint]:
    """The folders that a pattern matches, by the number in their name; of adapters the files too.

    Names in which other things than digits stand in place of the '*' are told too: a copy that is being made has one.

    Raises:
        StudyError: the folder cannot be read, or holds far too many entries.
    """
    before, after = pattern.split("*")
    head, tail = re.search(r"[0-9]*$", before), re.match(r"[0-9]*", after)
    numbered = re.compile(f"{re.escape(before)}({STEP}){re.escape(after)}")
    folders = []
    for path in _entries(parent):
        if not (path.name.startswith(before) and path.name.endswith(after)):
            continue
        if path.is_file() and not (adapters and path.suffix == ".safetensors"):
            continue
        match = numbered.fullmatch(path.name)
        if match is None:
            folders.append(
                Checkpoint(path, -1, "its name has other characters than digits for the '*'")
            )
            continue
        digits = f"{head[0] if head else ''}{match[1]}{tail[0] if tail else ''}"
        problem = why_no_adapter(path, parent) if adapters else why_not_whole(path, parent)
        folders.append(Checkpoint(path, int(digits), problem))
    return iter(sorted(folders, key=lambda each: (each.step, each.folder.name)))


def _entries(parent: Path) -> list[Path]:
    paths: list[Path] = []
    try:
        for path in parent.iterdir() if parent.is_dir() else ():
            paths.append(path)
            if len(paths) > MAX_ENTRIES:
                raise StudyError(
                    f"{parent}: holds over {MAX_ENTRIES:,} entries. Keep checkpoints in a folder of their own."
                )
    except OSError as error:
        raise StudyError(f"{parent}: cannot be read ({error.strerror}).") from None
    return paths


def why_not_whole(folder: Path, parent: Path) -> str:
    """Why a folder is no whole diffusers pipeline inside its parent; "" where it is one.

    Raises: nothing; a folder that vanishes meanwhile is not whole.
    """
    try:
        if folder.is_symlink() and not folder.exists():
            return "it is a link to nothing"
        if folder.resolve().parent != parent.resolve():
            return "it is a link out of the folder of the checkpoints"
        if not (folder / "model_index.json").is_file():
            return _without_index(folder)
        index = _read_object(folder / "model_index.json")
        parts = [name for name, entry in index.items() if isinstance(entry, list) and entry[:1] != [None]]  # fmt: skip
        problems = (
            _partial(folder / name)
            for name in parts
            if NAME.fullmatch(name) and name != "safety_checker"
        )
        return next((problem for problem in problems if problem), "")
    except PARTIAL:
        return "a file of it is not written to its end"


def why_no_adapter(path: Path, parent: Path) -> str:
    """Why a folder or file is no whole adapter inside its parent; "" where it is one.

    Raises: nothing; what vanishes meanwhile is not whole.
    """
    try:
        if path.is_symlink() and not path.exists():
            return "it is a link to nothing"
        if path.resolve().parent != parent.resolve():
            return "it is a link out of the folder of the checkpoints"
        weights = adapter_files(path)[0]
        if _length(weights) != weights.stat().st_size:
            return f"{weights.name} is not written to its end"
        return ""
    except StudyError as error:
        return str(error).partition(": ")[2].rstrip(".")
    except PARTIAL:
        return "a file of it is not written to its end"


def _without_index(folder: Path) -> str:
    if any(folder.glob("*lora*.safetensors")) or (folder / "adapter_model.safetensors").is_file():
        return "it is an adapter (LoRA): name the model that it changes as source"
    return "it has no model_index.json: it is not written to its end, or is no diffusers pipeline"


def _partial(component: Path) -> str:
    """What is missing of a component's folder; "" for nothing."""
    if component.is_symlink() or not component.is_dir():
        return f"{component.name} is missing"
    for index in component.glob("*.safetensors.index.json"):
        for name in set(_read_object(index)["weight_map"].values()):
            if not (component / Path(name).name).is_file():
                return f"{component.name}/{Path(name).name} is missing"
    weights = list(component.glob("*.safetensors"))
    if (component / "config.json").is_file() and not weights:
        return f"{component.name} has no .safetensors"
    short = next((file.name for file in weights if _length(file) != file.stat().st_size), None)
    if short is not None:
        return f"{component.name}/{short} is not written to its end"
    return "" if any(component.iterdir()) else f"{component.name} is empty"


def _length(file: Path) -> int:
    """The bytes that a safetensors file has by its own header."""
    with file.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        if size > MAX_HEADER:
            raise ValueError("no safetensors")
        header = json.loads(stream.read(size))
    ends = [value["data_offsets"][1] for name, value in header.items() if name != "__metadata__"]
    return int(8 + size + max(ends, default=0))


def _read_object(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        value = json.loads(stream.read(MAX_JSON + 1)[:MAX_JSON])
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _refuse_same_step(table: Table, complete: list[Checkpoint]) -> None:
    for one, other in pairwise(complete):
        if one.step == other.step:
            raise table.fail(
                "checkpoints",
                f"matches {one.folder.name} and {other.folder.name}, which are the same training step. Remove one.",
            )


def _entry(table: Table, name: str, checkpoint: Checkpoint) -> Table:
    """The entry of one checkpoint: named after the entry and the training step."""
    values = {key: value for key, value in table.values.items() if key != "checkpoints"}
    values |= {
        "name": f"{name}-{checkpoint.step}",
        "label": f"{table.take_text('label', name, empty=False)} {checkpoint.step:,}",
        **_weights(table, checkpoint),
        "run": table.take_text("run", name, empty=False),
        "training_step": checkpoint.step,
    }
    return Table(values, table.file, table.name, table.error)


def _weights(table: Table, checkpoint: Checkpoint) -> dict[str, Any]:
    """The whole model that a checkpoint is; or the source with its adapters, of which the checkpoint is the last."""
    folder = str(checkpoint.folder)
    if not table.has("source"):
        return {"source": folder}
    others = table.take_list("adapters", [])
    return {"source": table.raw("source"), "adapters": [*others, {"source": folder}]}
