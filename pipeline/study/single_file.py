"""A model entry whose weights are one safetensors file: `source` names it, and `config` the folder of its configuration."""

from collections.abc import Callable
from pathlib import Path

from pipeline.study.settings import Table, show

SUFFIX = ".safetensors"
WITHOUT = ("revision", "variant")
"""Keys that say which of a folder's files are taken."""


def take_single_file(table: Table, resolve: Callable[[str], Path] | None) -> tuple[str, str]:
    """(source, config) of an entry that has `config`.

    Args:
        table: the entry.
        resolve: finds a path that the study names; None = files need not exist.

    Raises:
        StudyError: the source is no safetensors file, the configuration no folder of a model, or a key has no effect.
    """
    source, config = table.take_place("source"), table.take_place("config")
    for key in WITHOUT:
        if table.has(key):
            raise table.fail(key, f"has no effect on a single file ({show(source)}). Leave it out.")
    if resolve is None:
        return source, config
    file, folder = resolve(source), resolve(config)
    if file.suffix != SUFFIX or not file.is_file():
        problem = "is no safetensors file" if file.exists() else "does not exist"
        raise table.fail(
            "source",
            f"= {show(source)} {problem}. With config, source is one safetensors file; pickles are never loaded.",
        )
    if not (folder / "model_index.json").is_file():
        problem = "has no model_index.json" if folder.is_dir() else "is no folder"
        raise table.fail(
            "config",
            f"= {show(config)} {problem}. Give the folder of a model of the same kind, in diffusers' layout; it needs no weights that "
            "the file holds.",
        )
    return str(file), str(folder)
