"""Embeddings of textual inversion in a model entry: what the study says of them, and which file one is.

Nothing here loads one; pipeline/models/inversions.py does.
"""

import re
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import StudyError
from pipeline.study.adapters import PICKLES
from pipeline.study.settings import Table, show
from pipeline.study.spec import EmbeddingSpec

MAX_EMBEDDINGS = 20
WEIGHTS = "learned_embeds.safetensors"
"""What diffusers' training script calls an embedding's file."""
TOKEN = re.compile(r"[A-Za-z0-9<>_.*-]{1,64}", re.ASCII)


def take_embeddings(table: Table, resolve: Callable[[str], Path] | None) -> tuple[EmbeddingSpec, ...] | None:  # fmt: skip
    """The embeddings of a model entry, in order; None where it has none.

    Args:
        table: the entry.
        resolve: finds a path that the study names; None = files need not exist.

    Raises:
        StudyError: a file does not exist or is none, a token has other characters or is there twice, or there are too many.
    """
    if not table.has("embeddings"):
        return None
    tables = table.take_tables("embeddings", MAX_EMBEDDINGS)
    embeddings = tuple(_take(each, resolve) for each in tables)
    table.refuse_twice("embeddings", [each.token for each in embeddings])
    return embeddings


def _take(table: Table, resolve: Callable[[str], Path] | None) -> EmbeddingSpec:
    source, token = table.take_place("source"), table.take_text("token", empty=False)
    table.finish()
    if not TOKEN.fullmatch(token):
        raise table.fail("token", f"= {show(token)} is no token. Allowed: 1 to 64 letters, digits and <>_.*- without spaces.")  # fmt: skip
    if resolve is not None:
        path = resolve(source)
        if not path.exists():
            raise table.fail("source", f"= {show(source)} does not exist. Give a safetensors file, or the folder that holds {WEIGHTS}.")  # fmt: skip
        embedding_file(path)
        source = str(path)
    return EmbeddingSpec(source, token)


def embedding_file(path: Path) -> Path:
    """The file of an embedding.

    Args:
        path: a safetensors file, or a folder with one as diffusers' training script names it.

    Raises:
        StudyError: there is none, it is a pickle, or a link out of the folder.
    """
    if path.is_dir():
        file = path / WEIGHTS
        if not file.is_file():
            raise StudyError(f"{path}: holds no {WEIGHTS}. Give the file of the embedding.")
        if file.resolve().parent != path.resolve():
            raise StudyError(f"{file}: is a link out of the embedding's folder. Copy the file into it.")  # fmt: skip
        return file
    if path.suffix != ".safetensors" or not path.is_file():
        pickle = " (pickle, never loaded)" if path.suffix in PICKLES else ""
        raise StudyError(f"{path}: is no safetensors file{pickle}. Convert the embedding to safetensors.")  # fmt: skip
    return path
