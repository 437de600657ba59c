"""Cuts a study into work units, each named by a hash of all that decides its content.

Ids are cheap: what a unit shares with others (the model and everything measured, the block of
prompts) is hashed once. A plan of a million units is made in seconds and holds only the prompts.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from pipeline.concepts import ConceptBank
from pipeline.errors import StudyError
from pipeline.prompts import Prompt
from pipeline.study import ModelSpec, Study, measures_spec, model_spec

CODE_SCHEMA_VERSION = 1  # raise it when the same study would now give other numbers or columns
FOLDER = "sha256:"  # marks the revision of a folder


@dataclass(frozen=True)
class Revisions:
    """What exactly stands behind the names of a study.

    Each is "sha256:..." of a folder's files, or the revision of a name that others host.
    """

    models: Mapping[str, str]
    scorer: str
    further_scorers: tuple[str, ...] = ()

    @property
    def scorers(self) -> tuple[str, ...]:
        """Of every scorer, the primary one first."""
        return self.scorer, *self.further_scorers


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """The smallest piece of work: one model, a block of prompts, one seed; one shard."""

    unit_id: str
    model: ModelSpec
    prompts: tuple[Prompt, ...]
    seed: int

    def __len__(self) -> int:
        return len(self.prompts)


def find_revisions(study: Study) -> Revisions:
    """The revisions of a study's models and scorers, as they are on this machine now.

    A folder's revision is a hash of its files. A Hub id's is the one in the study, "main" if none.
    """
    found: dict[tuple[str, str], str] = {}

    def revision(source: str, default: str) -> str:
        key = (source, default)
        if key not in found:
            folder = Path(source)
            found[key] = FOLDER + folder_hash(folder) if folder.is_dir() else default
        return found[key]

    models = {m.name: revision(m.source, m.revision or "main") for m in study.models}
    models |= {
        f"{m.name}/steps_decoder": revision(m.steps_decoder, "main")
        for m in study.models
        if m.steps_decoder
    }
    first, *further = (revision(s.source, s.pretrained) for s in study.scorers)
    return Revisions(models, first, tuple(further))


def folder_hash(folder: Path) -> str:
    """A hash of the names and bytes of a folder's files; hidden files and notes (*.md) left out.

    Returns: 16 hex digits of a sha256.

    Raises:
        StudyError: a file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = file.relative_to(folder)
            if not any(part.startswith(".") for part in name.parts) and file.suffix != ".md":
                digest.update(name.as_posix().encode() + b"\0" + _file_hash(file))
    except OSError as error:
        raise StudyError(f"{folder}: cannot be read ({error}). Check its permissions.") from None
    return digest.hexdigest()[:16]


def _file_hash(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


class Plan(Sequence[WorkUnit]):
    """The work units of a study in order (model, block of prompts, seed), made when asked for."""

    def __init__(
        self,
        study: Study,
        revisions: Revisions,
        prompts: Sequence[Prompt],
        bank: ConceptBank,
        version: int = CODE_SCHEMA_VERSION,
    ) -> None:
        self.study, self.revisions = study, revisions
        self.prompts, self.bank = tuple(prompts), bank
        self.version = version  # an older one only where results of that time are read

    @property
    def blocks(self) -> int:
        """Number of prompt blocks; the last may be shorter."""
        return -(-len(self.prompts) // self.study.run.unit_prompts)

    @property
    def samples(self) -> int:
        """Number of images: models x prompts x seeds."""
        return len(self.study.models) * len(self.prompts) * len(self.study.seeds)

    def __len__(self) -> int:
        return len(self.study.models) * self.blocks * len(self.study.seeds)

    def __iter__(self) -> Iterator[WorkUnit]:
        for model in self.study.models:
            yield from self.of_model(model)

    def of_model(self, model: ModelSpec) -> Iterator[WorkUnit]:
        """The units of one model, the seeds of a block one after the other."""
        for block in range(self.blocks):
            for seed in self.study.seeds:
                yield self._unit(model, block, seed)

    @overload
    def __getitem__(self, index: int) -> WorkUnit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[WorkUnit, ...]: ...
    def __getitem__(self, index: int | slice) -> WorkUnit | tuple[WorkUnit, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        place = range(len(self))[index]
        rest, seed = divmod(place, len(self.study.seeds))
        number, block = divmod(rest, self.blocks)
        model = self.study.models[number]
        return self._unit(model, block, self.study.seeds[seed])

    def _unit(self, model: ModelSpec, block: int, seed: int) -> WorkUnit:
        digest = self._shared[model.name, seed].copy()
        digest.update(b"%b %d" % (self._block_hashes[block], seed))
        return WorkUnit(digest.hexdigest()[:32], model, self._block(block), seed)

    def _block(self, block: int) -> tuple[Prompt, ...]:
        size = self.study.run.unit_prompts
        return self.prompts[block * size : (block + 1) * size]

    @cached_property
    def _block_hashes(self) -> list[bytes]:
        """One hash per block: texts, roles, and which tools see each prompt."""
        limits = {name: tool.prompts for name, tool in self.study.measures.tools().items()}
        return [
            _hash([_prompt_spec(prompt, limits) for prompt in self._block(block)])
            for block in range(self.blocks)
        ]

    @cached_property
    def _shared(self) -> dict[tuple[str, int], Any]:
        """The beginning of a hash per model and seed: all that their units share."""
        study = self.study
        common = {
            "version": self.version,
            **self._scorers(),
            "concepts": [[c.family, c.name, *c.phrasings] for c in self.bank.concepts],
            "batch_size": study.run.batch_size or "auto",
        }
        return {
            (model.name, seed): hashlib.sha256(
                _hash(
                    common
                    | {
                        "measures": _unlimited(measures_spec(study.measures.of(model.name, place))),
                        "model": self._model(model),
                    }
                )
                + b" "
            )
            for model in study.models
            for place, seed in enumerate(study.seeds)
        }

    def _scorers(self) -> dict[str, Any]:
        """What decides the scores: the scorers in order, not their names. One alone is spelled as it always was."""
        first, *further = (
            [spec.pretrained, revision, *_hub(spec.source, revision)]
            for spec, revision in zip(self.study.scorers, self.revisions.scorers, strict=True)
        )
        return {"scorer": first} | ({"further_scorers": further} if further else {})

    def _model(self, model: ModelSpec) -> dict[str, Any]:
        """The model entry without what changes no pixel: the label, and where a folder lies."""
        revision = self.revisions.models[model.name]
        spec = model_spec(model) | {"revision": revision, "source": _hub(model.source, revision)}
        del spec["label"]
        if model.steps_decoder:
            decoder = self.revisions.models[f"{model.name}/steps_decoder"]
            spec["steps_decoder"] = [decoder, *_hub(model.steps_decoder, decoder)]
        return spec


def plan(study: Study, revisions: Revisions, prompts: Sequence[Prompt], bank: ConceptBank) -> Plan:
    """The work units of a study; two plans share an id exactly where the content is the same."""
    return Plan(study, revisions, prompts, bank)


def canonical(value: Any) -> str:
    """JSON with one spelling: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _hash(value: Any) -> bytes:
    return hashlib.sha256(canonical(value).encode()).hexdigest().encode()


def _hub(source: str, revision: str) -> list[str]:
    """The source where it is a name that others host; a folder is known by its hash alone."""
    return [] if revision.startswith(FOLDER) else [source]


def _prompt_spec(prompt: Prompt, limits: Mapping[str, int | None]) -> list[Any]:
    left_out = [n for n, limit in limits.items() if limit is not None and prompt.position >= limit]
    return [prompt.text, {role: list(words) for role, words in prompt.roles.items()}, left_out]


def _unlimited(measures: dict[str, Any]) -> dict[str, Any]:
    """The measures without what says where they apply: `prompts` is in the hash of each block."""
    return {
        key: {k: v for k, v in value.items() if k not in ("prompts", "models", "seeds")}
        if isinstance(value, dict)
        else value
        for key, value in measures.items()
    }
