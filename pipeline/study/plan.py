"""Cuts a study into work units, each named by a hash of all that decides its content.

Ids are cheap: what a unit shares with others (the model and everything measured, the block of
prompts) is hashed once. A plan of a million units is made in seconds and holds only the prompts.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from pipeline.errors import StudyError
from pipeline.study.adapters import adapter_hash
from pipeline.study.concepts import ConceptBank, read_concepts
from pipeline.study.definitions import CLIP_SCORE, STORED_IMAGE, current_definitions, limits_of
from pipeline.study.image_index import images_hash
from pipeline.study.inversions import embedding_file
from pipeline.study.pairs import bases_spec, judge_of
from pipeline.study.prompts import Prompt, read_prompts
from pipeline.study.spec import (
    DESCRIPTIVE,
    JUDGED,
    ModelSpec,
    Study,
    measures_spec,
    model_spec,
)

CODE_SCHEMA_VERSION = 1  # raise it when the same study would now give other numbers or columns
FOLDER = "sha256:"  # marks the revision of a folder or file
INCEPTION = "measures/inception"  # its key among the revisions of models, whose names have no "/"
JUDGE = "measures/judge"  # likewise
DISTANCE = "measures/distance/"  # likewise, before the name of a distance
NO_WEIGHTS = "none"  # the revision of a distance that is computed from pixels
Beginning = tuple[int, Any, bytes | None]
"""A seed; the beginning of its units' hashes; which definitions all of them measure (`_everywhere`)."""


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
    clip_score: int = STORED_IMAGE  # the version of its definition

    def __len__(self) -> int:
        return len(self.prompts)


def find_revisions(study: Study) -> Revisions:
    """The revisions of a study's models and scorers, as they are on this machine now.

    A folder's revision is a hash of its files. A Hub id's is the one in the study, "main" if none.
    """
    revisions: dict[tuple[str, str], str] = {}

    def revision(source: str, default: str) -> str:
        key = (source, default)
        if key not in revisions:
            folder = Path(source)
            revisions[key] = FOLDER + folder_hash(folder) if folder.is_dir() else default
        return revisions[key]

    models = {
        m.name: FOLDER + images_hash(m) if m.imported else revision(m.source, m.revision or "main")
        for m in study.models
    }
    models |= {
        f"{m.name}/steps_decoder": revision(m.steps_decoder, "main")
        for m in study.models
        if m.steps_decoder
    }
    models |= _of_single_files(study) | _of_embeddings(study)
    models |= {
        f"{m.name}/adapters/{index}": FOLDER + adapter_hash(adapter.source)
        for m in study.models
        for index, adapter in enumerate(m.adapters or ())
    }
    if study.measures.inception:
        models[INCEPTION] = FOLDER + file_hash(study.measures.inception)
    if judge := judge_of(study.measures):
        models[JUDGE] = FOLDER + folder_hash(Path(judge))
    models |= {
        DISTANCE + each.name: FOLDER + (weights_hash(each.weights) if each.weights else NO_WEIGHTS)
        for each in study.distances
    }
    first, *further = (revision(s.source, s.pretrained) for s in study.scorers)
    return Revisions(models, first, tuple(further))


def _of_single_files(study: Study) -> dict[str, str]:
    """Those of models whose weights are one file: of the file, and of the folder with its configuration."""
    revisions = {}
    for model in study.models:
        if model.config:
            revisions[model.name] = FOLDER + file_hash(Path(model.source))
            revisions[f"{model.name}/config"] = FOLDER + folder_hash(Path(model.config))
    return revisions


def _of_embeddings(study: Study) -> dict[str, str]:
    return {
        f"{model.name}/embeddings/{index}": FOLDER + file_hash(embedding_file(Path(each.source)))
        for model in study.models
        for index, each in enumerate(model.embeddings or ())
    }


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


def file_hash(file: Path) -> str:
    """A hash of a file's bytes: 16 hex digits of a sha256. Raises StudyError where it cannot be read."""
    try:
        return _file_hash(file).hex()[:16]
    except OSError as error:
        raise StudyError(f"{file}: cannot be read ({error}). Check its permissions.") from None


def weights_hash(source: str) -> str:
    """A hash of a file or of a folder's files: 16 hex digits. Raises StudyError where it cannot be read."""
    path = Path(source)
    return folder_hash(path) if path.is_dir() else file_hash(path)


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
        duplicates: int = 0,
        definitions: Mapping[str, int] | None = None,
    ) -> None:
        self.study, self.revisions = study, revisions
        self.prompts, self.bank = tuple(prompts), bank
        self.version = version  # an older one only where results of that time are read
        self.duplicates = duplicates  # repeated prompts that were left out, for the record
        if definitions is None:  # given where results that were measured by others are read
            definitions = current_definitions(study.measures)
        self.definitions = dict(definitions)

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
        beginnings = [self._beginning(model, seed) for seed in self.study.seeds]
        for block in range(self.blocks):
            prompts = self._block(block)
            for beginning in beginnings:
                yield self._work_unit(model, block, beginning, prompts)

    @overload
    def __getitem__(self, index: int) -> WorkUnit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[WorkUnit, ...]: ...
    def __getitem__(self, index: int | slice) -> WorkUnit | tuple[WorkUnit, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        position = range(len(self))[index]
        rest, seed = divmod(position, len(self.study.seeds))
        number, block = divmod(rest, self.blocks)
        model = self.study.models[number]
        beginning = self._beginning(model, self.study.seeds[seed])
        return self._work_unit(model, block, beginning, self._block(block))

    def _beginning(self, model: ModelSpec, seed: int) -> Beginning:
        key = model.name, seed
        return seed, self._shared[key], self._everywhere[key]

    def _work_unit(
        self, model: ModelSpec, block: int, beginning: Beginning, prompts: tuple[Prompt, ...]
    ) -> WorkUnit:
        seed, shared, changed = beginning
        if changed is None:
            changed = self._changed(model.name, block, seed)
        digest = shared.copy()
        digest.update(b"%b %d%b" % (self._block_hashes[block], seed, changed))
        return WorkUnit(digest.hexdigest()[:32], model, prompts, seed, self._clip_score)

    @cached_property
    def _clip_score(self) -> int:
        """The version of the CLIP score's definition."""
        return self.definitions.get(CLIP_SCORE, 1)

    def _changed(self, model: str, block: int, seed: int) -> bytes:
        """`_hash_of` what a unit measures, where that depends on its prompts."""
        first = self._first_positions[block]
        return self._hash_of(
            name
            for name, limits in self._limits[model, seed].items()
            if any(limit is None or first < limit for limit in limits)
        )

    def _hash_of(self, names: Iterable[str]) -> bytes:
        """A space and a hash of the definitions that are not the first ones; empty without any."""
        measured = tuple((name, self.definitions[name]) for name in names)
        if measured and measured not in self._hashes:
            self._hashes[measured] = b" " + _hash(sorted(measured))
        return self._hashes[measured] if measured else b""

    @cached_property
    def _everywhere(self) -> dict[tuple[str, int], bytes | None]:
        """Per model and seed the hash of what each of their units measures; None where that depends on the unit's prompts."""
        return {
            key: self._hash_of(limits) if all(None in each for each in limits.values()) else None
            for key, limits in self._limits.items()
        }

    @cached_property
    def _hashes(self) -> dict[tuple[tuple[str, int], ...], bytes]:
        return {}

    @cached_property
    def _first_positions(self) -> list[int]:
        """The lowest position of each block's prompts: tools that see the first prompts alone may not see a block."""
        return [
            min((prompt.position for prompt in self._block(block)), default=0)
            for block in range(self.blocks)
        ]

    @cached_property
    def _limits(self) -> dict[tuple[str, int], dict[str, tuple[int | None, ...]]]:
        """Per model and seed, what is measured under a definition that is not the first, and of which prompts."""
        return {
            (model.name, seed): {
                name: limits
                for name, limits in limits_of(self.study.measures.of(model.name, index)).items()
                if name in self.definitions
            }
            for model in self.study.models
            for index, seed in enumerate(self.study.seeds)
        }

    def _block(self, block: int) -> tuple[Prompt, ...]:
        size = self.study.run.unit_prompts
        return self.prompts[block * size : (block + 1) * size]

    @cached_property
    def _block_hashes(self) -> list[bytes]:
        """One hash per block: texts, roles, and which tools see each prompt."""
        measures = self.study.measures
        limits = {name: tool.prompts for name, tool in measures.tools().items()}
        return [
            _hash(
                [
                    _prompt_spec(prompt, limits) + bases_spec(prompt, measures.switch)
                    for prompt in self._block(block)
                ]
            )
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
                        "measures": self._measures(model, index),
                        "model": self._model(model),
                    }
                )
                + b" "
            )
            for model in study.models
            for index, seed in enumerate(study.seeds)
        }

    def _measures(self, model: ModelSpec, seed_index: int) -> dict[str, Any]:
        """What is measured, without where: the weights of Inception and of a judge by their hash."""
        spec = _unlimited(measures_spec(self.study.measures.of(model.name, seed_index)))
        if "inception" in spec:
            spec["inception"] = self.revisions.models[INCEPTION]
        for name in JUDGED:
            if "judge" in spec.get(name, {}):
                spec[name]["judge"] = self.revisions.models[JUDGE]
        return spec

    def _scorers(self) -> dict[str, Any]:
        """What decides the scores: the scorers in order, not their names. One alone is spelled as it always was."""
        first, *further = (
            [spec.pretrained, revision, *_hub(spec.source, revision)]
            for spec, revision in zip(self.study.scorers, self.revisions.scorers, strict=True)
        )
        return {"scorer": first} | ({"further_scorers": further} if further else {})

    def _model(self, model: ModelSpec) -> dict[str, Any]:
        """The model entry without what changes no pixel: label, training run, and where a folder lies."""
        revision = self.revisions.models[model.name]
        spec = model_spec(model) | {"revision": revision, "source": _hub(model.source, revision)}
        for key in DESCRIPTIVE:
            spec.pop(key, None)
        if model.imported:
            spec["images"] = True
        if model.steps_decoder:
            decoder = self.revisions.models[f"{model.name}/steps_decoder"]
            spec["steps_decoder"] = [decoder, *_hub(model.steps_decoder, decoder)]
        if model.config:
            spec["config"] = self.revisions.models[f"{model.name}/config"]
        if model.embeddings:
            spec["embeddings"] = [
                [self.revisions.models[f"{model.name}/embeddings/{index}"], embedding.token]
                for index, embedding in enumerate(model.embeddings)
            ]
        if model.adapters:
            spec["adapters"] = [
                [self.revisions.models[f"{model.name}/adapters/{index}"], adapter.weight]
                for index, adapter in enumerate(model.adapters)
            ]
        return spec


def plan_study(study: Study) -> Plan:
    """The work units of a study, from the prompts, concepts, models and scorers that it names.

    Two plans share an id exactly where the content is the same.

    Raises:
        PromptError: the prompts cannot be read.
        ConceptError: the concept bank cannot be read.
        StudyError: a file of a model or scorer cannot be read.
    """
    prompts, bank = read_prompts(study.prompts), read_concepts(study.concepts)
    return Plan(study, find_revisions(study), prompts.prompts, bank, duplicates=prompts.duplicates)


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
