"""Concept banks: what the images are compared with. A TOML file of families, names and phrasings.

```toml
name = "scenes"
[[concept]]
name = "red"
family = "colour"
phrasings = ["a red background", "red"]
```
"""

import re
from dataclasses import dataclass

from pipeline.errors import ConceptError
from pipeline.study.settings import Table, hint, read_toml, show
from pipeline.study.spec import ConceptSource

NAME = re.compile(r"[^\s/][^/\n\t]{0,99}")
MAX_PHRASINGS = 100


@dataclass(frozen=True)
class Concept:
    """A concept and the ways to say it, whose text embeddings are averaged."""

    name: str
    family: str
    phrasings: tuple[str, ...]

    @property
    def key(self) -> str:
        """The name that shards use: "family/name"."""
        return f"{self.family}/{self.name}"


@dataclass(frozen=True)
class ConceptBank:
    """The concepts of a study, in the order of the file."""

    name: str
    concepts: tuple[Concept, ...]


def read_concepts(source: ConceptSource) -> ConceptBank:
    """Reads a concept bank and keeps the families that the study asks for.

    Raises:
        ConceptError: says the file, the entry, what is wrong and what is allowed.
    """
    top = Table(read_toml(source.path, ConceptError), str(source.path), "", ConceptError)
    name = top.take_text("name", source.path.stem)
    top.take_text("description", "")
    concepts = [_concept(table) for table in top.take_tables("concept")]
    top.finish()
    _refuse_twice(concepts, top)
    return ConceptBank(name, tuple(_of_families(concepts, source)))


def _concept(table: Table) -> Concept:
    concept = Concept(
        name=_name(table, "name"),
        family=_name(table, "family"),
        phrasings=table.take_words("phrasings"),
    )
    if not 1 <= len(concept.phrasings) <= MAX_PHRASINGS:
        raise table.fail("phrasings", f"holds {len(concept.phrasings)}. Give 1 to {MAX_PHRASINGS}.")
    if concept.family == "prompt":
        raise table.fail("family", "= 'prompt' stands for the whole prompt. Choose another name.")
    table.finish()
    return concept


def _name(table: Table, key: str) -> str:
    value = table.take_text(key, empty=False)
    if not NAME.fullmatch(value):
        raise table.fail(
            key, f"= {show(value)} is not a name. Allowed: 1 to 100 characters, no '/'."
        )
    return value


def _refuse_twice(concepts: list[Concept], top: Table) -> None:
    seen = set()
    for concept in concepts:
        if concept.key in seen:
            raise top.fail("concept", f"{show(concept.key)} is there twice. Keep one of them.")
        seen.add(concept.key)


def _of_families(concepts: list[Concept], source: ConceptSource) -> list[Concept]:
    known = list(dict.fromkeys(concept.family for concept in concepts))
    for family in source.families or ():
        if family not in known:
            raise ConceptError(
                f"{source.path}: no family {show(family)} for concepts.families. "
                f"{hint(family, known)}"
            )
    wanted = source.families or tuple(known)
    return [concept for concept in concepts if concept.family in wanted]
