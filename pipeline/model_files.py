"""What the files of a model folder may be, wherever the folder comes from: its own, plain, and no other code."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.study import ScorerSpec

COMPONENT = re.compile(r"\w[\w.-]{0,99}")
MAX_JSON = 64 * 2**20  # bytes; the largest tokenizers have 20 MB
MAX_FILES = 10_000
MAX_HEADER = 100_000_000  # bytes; safetensors' own limit
# What a header that is JSON, but not as safetensors writes it, can raise.
DAMAGED = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)


def files_of(folder: Path, name: str) -> Iterator[Path]:
    """The files of a model folder.

    Raises:
        ModelError: there are far more than any model has, or it cannot be read.
    """
    try:
        for number, path in enumerate(folder.rglob("*"), start=1):
            if number > MAX_FILES:
                raise ModelError(
                    f"{name}: {folder} holds more than {MAX_FILES:,} files, so it is no model's folder. Give the folder "
                    "of one model."
                )
            yield path
    except OSError as error:
        raise ModelError(f"{name}: {folder} cannot be read ({error.strerror}).") from error


def refuse_links_out(folder: Path, name: str) -> None:
    """Every file must be in the folder itself, or in the store of the Hub's cache that the folder belongs to.

    Raises:
        ModelError: names the link and where it leads, or what is neither a file nor a folder.
    """
    whole = folder.resolve()
    # The Hub's cache has snapshots/REVISION with links to blobs beside it.
    homes = [whole, whole.parent.parent / "blobs"] if whole.parent.name == "snapshots" else [whole]
    for path in files_of(folder, name):
        target = _target(path)
        if target is None or not any(target.is_relative_to(home) for home in homes):
            raise ModelError(
                f"{name}: {path} is a link out of the model's folder. Copy what it means into the folder."
            )
        if not (path.is_file() or path.is_dir()):
            raise ModelError(f"{name}: {path} is neither a file nor a folder. Remove it.")


def _target(path: Path) -> Path | None:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself
        return None


def read_object(file: Path, name: str) -> dict[str, Any]:
    """The object of a JSON file.

    Raises:
        ModelError: it is missing, too big, or not one.
    """
    try:
        if file.stat().st_size > MAX_JSON:
            raise ModelError(f"{name}: {file} is too big (at most {MAX_JSON:,} bytes).")
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{name}: {file} is not valid JSON ({reason}). Save the model again."
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"{name}: {file} is not a JSON object. Save the model again.")
    return value


def check_weight_index(file: Path, name: str) -> None:
    """An index of weights in several files may name only safetensors that lie beside it.

    transformers joins these names to the folder as they are, so "../../x" would be read.

    Raises:
        ModelError: names the entry.
    """
    parts = read_object(file, name).get("weight_map")
    if not isinstance(parts, dict):
        raise ModelError(f"{name}: {file} has no 'weight_map'. Save the model again.")
    for part in dict.fromkeys(map(str, parts.values())):
        if Path(part).name != part or not part.endswith(".safetensors") or "\\" in part:
            raise ModelError(
                f"{name}: {file} names {part[:80]!r}, which is no safetensors file beside it. Save the model again."
            )
        if not (file.parent / part).is_file():
            raise ModelError(f"{name}: {file} names {part!r}, which is missing. Download it again.")


def check_safetensors(file: Path, name: str) -> None:
    """The header must be sane and the file as long as the header says."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 0 < length <= min(MAX_HEADER, size - 8):
            raise ModelError(
                f"{name}: {file} is not a whole safetensors file (header of {length} bytes in a file of "
                f"{size}). Download it again."
            )
        try:
            header = json.loads(stream.read(length))
            ends = [int(e["data_offsets"][1]) for k, e in header.items() if k != "__metadata__"]
        except DAMAGED as error:
            raise ModelError(
                f"{name}: the header of {file} is damaged. Download it again."
            ) from error
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise ModelError(
            f"{name}: {file} has {size} bytes where its header says {expected}: it is truncated or damaged. "
            "Download it again."
        )


def check_scorer_folder(spec: ScorerSpec) -> None:
    """What can be known of a scorer's folder without loading it; a name that others host is taken as it is.

    Raises:
        ModelError: the folder lacks the files of open_clip's layout, holds links out of it, or damaged weights.
    """
    folder = Path(spec.source)
    if not folder.is_dir():
        return
    name, weights = f"scorer {spec.source}", folder / "open_clip_model.safetensors"
    if not weights.is_file():
        raise ModelError(
            f"{name}: no {weights.name} in that folder. Only safetensors are loaded; save the model in the layout of "
            "open_clip.push_to_hf_hub."
        )
    refuse_links_out(folder, name)
    read_object(folder / "open_clip_config.json", name)
    check_safetensors(weights, name)
