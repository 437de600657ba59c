"""Adapters (LoRA) of a model entry: what the study says of them, and which files an adapter is made of.

Nothing here loads one; pipeline/models/adapters.py does.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import StudyError
from pipeline.study.settings import Table, show
from pipeline.study.spec import AdapterSpec

MAX_ADAPTERS = 20
MAX_WEIGHT = 100.0
WEIGHT_FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
"""What diffusers' training scripts and peft call an adapter's weights."""
CONFIG = "adapter_config.json"
"""Beside the weights that peft wrote: their scale is in it."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


def take_adapters(table: Table, resolve: Callable[[str], Path] | None) -> tuple[AdapterSpec, ...] | None:  # fmt: skip
    """The adapters of a model entry, in order; None where it has none.

    Args:
        table: the entry.
        resolve: finds a path that the study names; None = files need not exist.

    Raises:
        StudyError: a file does not exist, a weight is out of range, an adapter is named twice, or there are too many.
    """
    if not table.has("adapters"):
        return None
    tables = table.take_tables("adapters", MAX_ADAPTERS)
    adapters = tuple(_take(each, resolve) for each in tables)
    table.refuse_twice("adapters", [each.source for each in adapters])
    return adapters


def _take(table: Table, resolve: Callable[[str], Path] | None) -> AdapterSpec:
    source = table.take_place("source")
    weight = table.take_number("weight", 1.0, -MAX_WEIGHT, MAX_WEIGHT)
    table.finish()
    if resolve is not None:
        path = resolve(source)
        if not path.exists():
            raise table.fail("source", f"= {show(source)} does not exist. Give a safetensors file, or the folder that holds it.")  # fmt: skip
        adapter_files(path)
        source = str(path)
    return AdapterSpec(source, weight)


def adapter_files(path: Path) -> list[Path]:
    """The files of an adapter: its weights, and peft's configuration where it has one.

    Args:
        path: a safetensors file, or a folder with one; beside a trainer's other files, by the name that trainers give it.

    Raises:
        StudyError: there is none, there are several, it is a pickle or a link out of the folder.
    """
    weights = _weights(path)
    config = weights.parent / CONFIG
    files = [weights]
    if path.is_dir() and weights.name == WEIGHT_FILES[1]:
        if not config.is_file():
            raise StudyError(f"{path}: has {weights.name} and no {CONFIG}, which says how it is scaled. Copy both.")  # fmt: skip
        files.append(config)
    for file in files if path.is_dir() else []:
        if file.resolve().parent != path.resolve():
            raise StudyError(f"{file}: is a link out of the adapter's folder. Copy the file into it.")  # fmt: skip
    return files


def _weights(path: Path) -> Path:
    if not path.is_dir():
        if path.suffix != ".safetensors":
            pickle = " (pickle, never loaded)" if path.suffix in PICKLES else ""
            raise StudyError(f"{path}: is no safetensors file{pickle}. Convert the adapter to safetensors.")  # fmt: skip
        return path
    named = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)
    if named is not None:
        return named
    files = sorted(file for file in path.iterdir() if file.is_file())
    present = [file for file in files if file.suffix == ".safetensors"]
    if len(present) == 1:
        return present[0]
    pickles = [file.name for file in files if file.suffix in PICKLES]
    what = f"{len(present)} safetensors files" if present else "no safetensors file"
    only = f"; {', '.join(pickles[:3])} is pickle, never loaded" if pickles and not present else ""
    raise StudyError(f"{path}: holds {what}{only}. An adapter is one file, such as {WEIGHT_FILES[0]}.")  # fmt: skip


def adapter_hash(source: str) -> str:
    """A hash of the names' order and bytes of an adapter's files: 16 hex digits of a sha256.

    Raises:
        StudyError: a file cannot be read, or as `adapter_files`.
    """
    digest = hashlib.sha256()
    for file in adapter_files(Path(source)):
        try:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise StudyError(f"{file}: cannot be read ({error.strerror}). Check its permissions.") from None  # fmt: skip
    return digest.hexdigest()[:16]
