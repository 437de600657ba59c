"""What the files of a model folder may be, wherever the folder comes from: its own, plain, and no other code."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.errors import ModelError

Shape = tuple[int, ...]

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
    root = folder.resolve()
    # The Hub's cache has snapshots/REVISION with links to blobs beside it.
    homes = [root, root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [root]
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


def read_shapes(file: Path, name: str) -> dict[str, Shape]:
    """The names and shapes of the tensors in a safetensors file, of its header alone.

    Raises:
        ModelError: the header is damaged, or the file is not as long as the header says.
    """
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
            entries = {k: e for k, e in header.items() if k != "__metadata__"}
            ends = [int(e["data_offsets"][1]) for e in entries.values()]
            shapes = {k: tuple(map(_side, e["shape"])) for k, e in entries.items()}
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
    return shapes


def _side(value: object) -> int:
    """One side of a tensor's shape; none is as long as a file may be."""
    if isinstance(value, int) and 0 <= value < 2**40:
        return value
    raise ValueError(value)


@contextmanager
def view(files: Mapping[str, Path]) -> Iterator[Path]:
    """A folder of links to the given files and to nothing else, which is what a library is given to load.

    So a library finds no README that names another repository, no Python, no pickle and no adapter, of which its next
    version may read more than this one.

    Args:
        files: their names in the folder, with "/" between parts, and the files themselves.
    """
    with TemporaryDirectory(prefix="stepscope-model-") as temporary:
        for name, file in files.items():
            link = Path(temporary, name)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())
        yield Path(temporary)


def has_variant(folder: Path, stem: str, variant: str) -> bool:
    """Whether a component's folder has weights of a variant, such as fp16."""
    return any(file.is_file() for file in _weights_and_index(folder, stem, f".{variant}"))


def _weights_and_index(folder: Path, stem: str, variant: str) -> tuple[Path, Path]:
    return folder / f"{stem}{variant}.safetensors", folder / f"{stem}.safetensors.index{variant}.json"  # fmt: skip


def weight_files(folder: Path, stem: str, name: str, variant: str | None = None) -> dict[str, Path]:
    """The files that hold a component's weights, and their index, as a library names the plain ones.

    Args:
        folder: the component's.
        stem: "diffusion_pytorch_model" (diffusers) or "model" (transformers).
        name: the model, as messages begin.
        variant: of the weights; a component that has none of it gives its plain weights, as in diffusers.

    Raises:
        ModelError: there are none of that name, or the index leads elsewhere.
    """
    plain_single, plain_index = _weights_and_index(folder, stem, "")
    chosen = f".{variant}" if variant and has_variant(folder, stem, variant) else ""
    single, index = _weights_and_index(folder, stem, chosen)
    if single.is_file():
        return {plain_single.name: single}
    if index.is_file():
        check_weight_index(index, name)
        parts = sorted(set(read_object(index, name)["weight_map"].values()))
        return {plain_index.name: index} | {part: folder / part for part in parts}
    single = plain_single
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    present = f"only {', '.join(others[:3])}" if others else "no weights"
    raise ModelError(
        f"{name}: {folder} has {present}, and {single.name} is what is loaded. {_advice(folder, stem, single.name)}"
    )


def _advice(folder: Path, stem: str, wanted: str) -> str:
    """What to do where only weights of another name are there."""
    pattern = re.compile(rf"{stem}\.([A-Za-z0-9_]+?)(?:-\d{{5}}-of-\d{{5}})?\.safetensors")
    variants = sorted({m[1] for file in folder.glob("*.safetensors") if (m := pattern.fullmatch(file.name))})  # fmt: skip
    if variants:
        return f'Give the model\'s entry variant = "{variants[0]}", or download the plain weights.'
    return f"Download the plain weights, or rename the file to {wanted}."
