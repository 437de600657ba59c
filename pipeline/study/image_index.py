"""Images that exist: which image belongs to which prompt and seed, and what belongs to none.

An index is a list of `Picture` records in order; no image is decoded to make it. `pipeline/study/image_layouts.py` reads
the layouts of folders.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.errors import ModelError
from pipeline.study.image_files import MAX_IMAGE, open_below
from pipeline.study.image_layouts import Listing, Picture, read_layout
from pipeline.study.image_tables import MAX_TABLE
from pipeline.study.prompts import Prompt
from pipeline.study.settings import show
from pipeline.study.spec import ModelSpec

NAMED = 5  # how many of each kind a message names


@dataclass(frozen=True)
class Report:
    """How the images of a model fit the prompts and seeds of a study.

    Attributes:
        layout: as it was found.
        images: in the folder.
        wanted: prompts times seeds.
        missing: prompts and seeds without an image.
        unmatched: images that no prompt and seed takes.
        ignored: files that are no PNG, JPEG or WebP by their name, or that the layout does not name.
    """

    layout: str
    images: int
    wanted: int
    missing: tuple[str, ...]
    unmatched: tuple[str, ...]
    ignored: tuple[str, ...]

    def lines(self, name: str) -> list[str]:
        """What a user should know, one line each."""
        matched = self.wanted - len(self.missing)
        lines = [
            f"model {name}: {self.images:,} images ({self.layout}); {matched:,} of {self.wanted:,} prompts and seeds have one"
        ]
        for what, names in (
            ("without an image", self.missing),
            ("images that match no prompt and seed of the study", self.unmatched),
            ("files that are not images of this layout", self.ignored),
        ):
            if names:
                lines.append(f"model {name}: {len(names):,} {what}: {_some(names)}")
        return lines


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(show(name) for name in names[:NAMED]) + more


class ImageIndex:
    """The images of one model, found by prompt and seed.

    A picture belongs to a prompt by its key where it has one (the prompt's key, or the name of the prompt's file), else by its
    text, else by its number in the prompt file. Of a prompt's pictures, that of the seed is taken where all of them say their
    seed; else the n-th belongs to the n-th seed of the study.
    """

    def __init__(self, listing: Listing) -> None:
        self.root, self.layout, self.pictures = listing.root, listing.layout, listing.pictures
        self.ignored = listing.ignored
        self._numbers: Mapping[tuple[str, str | int], list[int]] = defaultdict(list)
        for number, picture in enumerate(self.pictures):
            self._numbers[picture.belongs].append(number)

    def find(self, prompt: Prompt, seed: int, seeds: Sequence[int]) -> Picture | None:
        """The picture of a prompt and seed; None where there is none."""
        number = self._find(prompt, seed, seeds)
        return None if number is None else self.pictures[number]

    def _find(self, prompt: Prompt, seed: int, seeds: Sequence[int]) -> int | None:
        numbers = self._of(prompt)
        if all(self.pictures[number].seed is not None for number in numbers):
            return next((number for number in numbers if self.pictures[number].seed == seed), None)
        nth = seeds.index(seed) if seed in seeds else len(numbers)
        return numbers[nth] if nth < len(numbers) else None

    def _of(self, prompt: Prompt) -> list[int]:
        """The numbers of a prompt's pictures, in order."""
        file = prompt.source if prompt.source.endswith(".txt") else ""  # of a folder of prompts
        kinds = (
            ("key", prompt.prompt_key),
            ("key", PurePosixPath(file).stem),
            ("text", folded(prompt.text)),
            ("number", prompt.position),
        )
        numbers = (self._numbers.get(kind) for kind in kinds)
        return next((each for each in numbers if each), [])

    @property
    def numbered(self) -> bool:
        """Whether images are matched by the number of their prompt in the prompt file."""
        return any(picture.belongs[0] == "number" for picture in self.pictures)

    def describe_missing(self, prompt: Prompt, seed: int) -> str:
        """Why a prompt and seed have no picture, for the sample's error."""
        numbers = self._of(prompt)
        if not numbers:
            return "no image of this prompt"
        present = sorted({s for number in numbers if (s := self.pictures[number].seed) is not None})
        if present:
            return f"no image of this prompt with seed {seed}; there are seeds {', '.join(map(str, present[:5]))}"
        return f"only {len(numbers)} images of this prompt, fewer than seeds"

    def report(self, prompts: Sequence[Prompt], seeds: Sequence[int]) -> Report:
        """How the images fit a study."""
        missing, used = [], set()
        for prompt in prompts:
            for seed in seeds:
                number = self._find(prompt, seed, seeds)
                if number is None:
                    missing.append(f"{prompt.text[:60]} (seed {seed})")
                else:
                    used.add(number)
        unmatched = [p.title for number, p in enumerate(self.pictures) if number not in used]
        return Report(
            layout=self.layout,
            images=len(self.pictures),
            wanted=len(prompts) * len(seeds),
            missing=tuple(missing),
            unmatched=tuple(unmatched),
            ignored=self.ignored,
        )


def folded(text: str) -> str:
    """A text with runs of white space as one space, as texts of images and of prompts are compared."""
    return " ".join(text.split())


def read_index(spec: ModelSpec) -> ImageIndex:
    """The index of a model of images that exist.

    Raises:
        ModelError: the folder or file cannot be read, has no image, or is of no known layout.
    """
    title = f"model {spec.name}"
    listing = read_layout(spec)
    if not listing.pictures:
        raise ModelError(
            f"{title}: images = {show(spec.source)} holds no image ({listing.layout})."
        )
    return ImageIndex(listing)


def images_hash(spec: ModelSpec) -> str:
    """A hash of a model's images: what they are matched by, and the bytes of every file; 16 hex digits of a sha256.

    A file that cannot be read counts by its name alone: its samples fail, whatever it holds.

    Raises:
        ModelError: as `read_index`.
    """
    index = read_index(spec)
    digest = hashlib.sha256()
    limits = {p.name: MAX_IMAGE if p.row is None else MAX_TABLE for p in index.pictures}
    for picture in index.pictures:
        digest.update(repr(picture).encode() + b"\0")
    for name, most in limits.items():
        try:
            with open_below(index.root, name, most) as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError:
            digest.update(b"unreadable")
    return digest.hexdigest()[:16]
