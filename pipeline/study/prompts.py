"""Reads prompt files of every common kind into `Prompt` records, in order, duplicates removed.

Texts are kept exactly as they are, however odd: what a model makes of an empty prompt, of NUL or of
10,000 characters is reported per sample later. Only what cannot be stored is changed: a lone
surrogate becomes U+FFFD.
"""

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

from pipeline.errors import PromptError
from pipeline.study.prompt_files import BASE, READERS, Entry, is_base
from pipeline.study.settings import show
from pipeline.study.spec import PromptSource

ROLES = ("subject", "relation", "object", "attribute")

Roles = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt of a study."""

    prompt_key: str  # hash of the text, the same in every study
    text: str
    source: str  # file and line, or entry
    category: str
    roles: Roles  # role -> its words, as they stand in the text
    position: int  # place in the study's prompts, from 0
    bases: Mapping[str, str] = field(default_factory=dict)  # what differs -> the prompt without it


@dataclass(frozen=True)
class PromptSet:
    """The prompts of a study, and what was left out on the way."""

    prompts: tuple[Prompt, ...]
    duplicates: int = 0  # exact repeats that were dropped

    def __len__(self) -> int:
        return len(self.prompts)


def read_prompts(source: PromptSource) -> PromptSet:
    """Reads, shuffles, cleans of duplicates, samples and limits the prompts of a study.

    A shuffled order is that of `random.Random(seed).shuffle` over all entries, repeats included.

    The sample of size n is the n prompts whose hash with the seed is smallest: it does not depend
    on the order of the file, and grows with n.

    Raises:
        PromptError: says the file, the line or entry, what is wrong and what to do.
    """
    entries = READERS[source.format](source)
    if source.shuffle is not None:
        entries = _shuffled(entries, source.shuffle)
    counted = _Counted(_unique(entries, source))
    first = source.limit if source.sample is None else None
    prompts = [_prompt(entry, position) for position, entry in enumerate(islice(counted, first))]
    if source.sample is not None:
        prompts = _sample(prompts, source.sample, source.sample_seed)[: source.limit]
    if not prompts:
        raise PromptError(f"{source.path}: no prompts in it. {_what_is_read(source)}")
    return PromptSet(tuple(prompts), counted.duplicates)


def _shuffled(entries: Iterable[Entry], seed: int) -> Iterator[Entry]:
    order = list(entries)
    random.Random(seed).shuffle(order)  # noqa: S311  an order that others can have too
    return iter(order)


def key_of(text: str) -> str:
    """The content hash of a text: 24 hex digits of its sha256."""
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _what_is_read(source: PromptSource) -> str:
    if source.split:
        return f"prompts.split = {source.split!r}: is there such a split in the file?"
    return f"It was read as {source.format}; prompts.format names another kind."


class _Counted:
    """An iterable of entries that counts the repeats it leaves out."""

    def __init__(self, entries: Iterable[Entry | None]) -> None:
        self.entries, self.duplicates = entries, 0

    def __iter__(self) -> Iterator[Entry]:
        for entry in self.entries:
            if entry is None:
                self.duplicates += 1
            else:
                yield entry


def _unique(entries: Iterable[Entry], source: PromptSource) -> Iterator[Entry | None]:
    """The entries; None for an exact repeat of an earlier text."""
    seen: dict[str, str] = {}
    for entry in entries:
        key = key_of(entry.text)
        if key in seen and source.duplicates == "error":
            raise PromptError(
                f"{entry.location}: the same prompt as {seen[key]}: {show(entry.text)}. Remove one, "
                'or set prompts.duplicates = "drop".'
            )
        yield None if key in seen else entry
        seen.setdefault(key, entry.location)


def _prompt(entry: Entry, position: int) -> Prompt:
    return Prompt(
        prompt_key=key_of(entry.text),
        text=entry.text,
        source=entry.location,
        category=entry.columns.get("category", "").strip(),
        roles=_roles(entry),
        position=position,
        bases=_bases(entry),
    )


def _bases(entry: Entry) -> Mapping[str, str]:
    """What the columns `base` and `base_NAME` say: "" or NAME -> the prompt to switch from."""
    return {
        part.removeprefix(BASE).removeprefix("_"): text
        for part, text in entry.columns.items()
        if is_base(part) and text.strip()
    } or _NO_BASES


_NO_BASES: Mapping[str, str] = {}


_NO_ROLES: Roles = {}


def _roles(entry: Entry) -> Roles:
    """The words of each role; several are separated by ';'."""
    roles = {}
    for role in ROLES:
        words = tuple(w.strip() for w in entry.columns.get(role, "").split(";") if w.strip())
        for word in words:
            _check_word(word, role, entry)
        if words:
            roles[role] = words
    return roles or _NO_ROLES


def _check_word(word: str, role: str, entry: Entry) -> None:
    if _folded(word) not in _folded(entry.text):
        raise PromptError(
            f"{entry.location}: the {role} {show(word)} is not in the prompt {show(entry.text)}. "
            "Write it as it stands in the prompt; several words are separated by ';'."
        )


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _sample(prompts: list[Prompt], count: int, seed: int) -> list[Prompt]:
    def rank(prompt: Prompt) -> bytes:
        return hashlib.sha256(f"{seed} {prompt.prompt_key}".encode()).digest()

    chosen = sorted(sorted(prompts, key=rank)[:count], key=lambda prompt: prompt.position)
    return [replace(prompt, position=index) for index, prompt in enumerate(chosen)]
