"""A study: which prompts, models, seeds and measures. Read from TOML, checked before any work.

Example: data/studies/demo.toml. The records are frozen, and `study_spec` turns them back into
plain values from which `parse_study` makes the same study.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.errors import StudyError
from pipeline.settings import Table, read_toml, show

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
CLASS_NAME = re.compile(r"[A-Za-z_]\w{0,99}")

FORMATS = ("csv", "tsv", "jsonl", "parquet", "txt", "json", "coco", "karpathy", "genome")
DTYPES = ("auto", "float32", "float16", "bfloat16")
SCHEDULES = (
    "default",
    "uniform",
    "early",
    "late",
    "karras",
    "exponential",
    "beta",
    "trailing",
    "leading",
    "linspace",
)
OFFLOADS = ("model", "sequential")
MODEL_FLAGS = ("vae_tiling", "vae_slicing", "channels_last", "compile")
PROTOCOLS = ("ours", "park2024")
DUPLICATES = ("drop", "error")
COLUMNS = ("text", "category", "subject", "relation", "object", "attribute")
SIMILARITIES = ("structure", "ssim", "contrast", "luminance", "cosine", "fid")
METHODS = ("df-rise", "df-cam", "lime", "attention", "relevance", "random")
GAMES = ("insertion", "deletion")
SCORES = ("clip", "structure", "fid")
MAX_SEED = 2**63 - 1
MAX_STEPS = 10_000
MAX_COUNT = 1_000_000_000
MAX_SCORERS = 9  # each has a schema of the database, scorer_2 to scorer_9

Option = str | int | float | bool | tuple[Any, ...]


@dataclass(frozen=True)
class PromptSource:
    """Where the prompts come from and which of them are taken."""

    path: Path
    format: str
    columns: Mapping[str, str]  # role -> column, only those that the study names
    split: str | None = None
    limit: int | None = None
    sample: int | None = None
    sample_seed: int = 0
    duplicates: str = "drop"
    obtain: str = ""  # where to get the file, shown when it is missing


@dataclass(frozen=True)
class ScorerSpec:
    """A CLIP model that measures similarity: a folder, an open_clip name or "hf-hub:...".

    `name` tells the scorers of a study apart and decides no number; it may be empty where there is one.
    """

    source: str
    pretrained: str = ""
    name: str = ""


@dataclass(frozen=True)
class ConceptSource:
    """The concept bank, and the families taken from it (None = all)."""

    path: Path
    families: tuple[str, ...] | None = None


@dataclass(frozen=True)
class RunSettings:
    """How the work is cut. Both numbers are part of the identity of the results."""

    batch_size: int | None = 8  # None = "auto": found by a probe
    unit_prompts: int = 16


@dataclass(frozen=True)
class Frames:
    """The kept frames: every `stride`-th step, `size` px on the longest side, WebP quality."""

    stride: int = 1
    size: int = 64
    quality: int = 80

    def at(self, total_steps: int) -> tuple[int, ...]:
        """The steps with a frame: the first and the last always."""
        return strided(total_steps, self.stride)


@dataclass(frozen=True)
class ToolSpec:
    """At which steps, and on what part of the study, an explanation tool runs."""

    steps: tuple[int, ...] | None = None  # None = all, or every `stride`-th
    stride: int | None = None
    prompts: int | None = None  # the first ones; None = all
    models: tuple[str, ...] | None = None  # by name; None = all
    seeds: int | None = None  # the first ones; None = all
    options: Mapping[str, Option] = field(default_factory=dict)

    def at(self, total_steps: int) -> tuple[int, ...]:
        """The steps that the tool looks at, in order; a stride includes the last step."""
        if self.steps is not None:
            return tuple(sorted(step for step in self.steps if step < total_steps))
        return strided(total_steps, self.stride or 1)


@dataclass(frozen=True)
class Measures:
    """What is measured beside the concept trajectories; None or False = not."""

    frames: Frames | None = None
    attention: ToolSpec | None = None
    relevance: ToolSpec | None = None
    df_cam: ToolSpec | None = None
    df_rise: ToolSpec | None = None
    lime: ToolSpec | None = None
    faithfulness: ToolSpec | None = None
    agreement: bool = False
    spectrum: bool = False
    embeddings: bool = False
    protocol: str = "ours"

    def tools(self) -> dict[str, ToolSpec]:
        """The tools that are asked for, by the name they have in a study file."""
        found = ((name, getattr(self, name.replace("-", "_"))) for name in TOOL_OPTIONS)
        return {name: tool for name, tool in found if tool is not None}

    def of(self, model: str, seed_place: int = 0) -> "Measures":
        """What is measured on one model and the study's n-th seed: without the tools that leave it out."""
        left_out = {
            name.replace("-", "_"): None
            for name, tool in self.tools().items()
            if (tool.models is not None and model not in tool.models)
            or (tool.seeds is not None and seed_place >= tool.seeds)
        }
        return replace(self, **left_out)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ModelSpec:
    """One model entry: the same model with another scheduler or schedule is another entry."""

    name: str
    label: str
    source: str  # a folder or a Hub id
    revision: str | None = None
    dtype: str = "auto"
    scheduler: str | None = None  # a diffusers class; None = the model's own
    steps: int = 30
    guidance: float = 4.0
    schedule: str = "default"
    gamma: float | None = None
    negative_prompt: str = ""
    height: int | None = None
    width: int | None = None
    steps_decoder: str | None = None  # an AutoencoderTiny for the steps: a folder or a Hub id
    offload: str | None = None  # "model" or "sequential": parts wait in the computer's memory
    vae_tiling: bool | None = None
    vae_slicing: bool | None = None
    channels_last: bool | None = None
    compile: bool | None = None


@dataclass(frozen=True)
class Study:
    """A study, checked: nothing in it is unknown, missing, doubled or out of range."""

    name: str
    title: str
    description: str
    seeds: tuple[int, ...]
    prompts: PromptSource
    scorer: ScorerSpec
    concepts: ConceptSource
    run: RunSettings
    measures: Measures
    models: tuple[ModelSpec, ...]
    path: Path
    further_scorers: tuple[ScorerSpec, ...] = ()

    @property
    def scorers(self) -> tuple[ScorerSpec, ...]:
        """Every scorer; the first is the primary one, which tools, paths and embeddings use alone."""
        return self.scorer, *self.further_scorers


def strided(total_steps: int, stride: int) -> tuple[int, ...]:
    """Every `stride`-th step from 0, and the last."""
    return tuple(sorted({*range(0, total_steps, stride), total_steps - 1}))


def load_study(
    path: Path | str, seeds: Sequence[int] | None = None, limit: int | None = None
) -> Study:
    """Reads and checks a study file.

    Args:
        path: the TOML file.
        seeds: replaces the file's seeds.
        limit: at most this many prompts.

    Raises:
        StudyError: one clear message about the first thing that is wrong.
    """
    study = parse_study(read_toml(Path(path), StudyError), Path(path))
    if seeds is not None:
        study = replace(study, seeds=check_seeds(seeds))
    if limit is not None:
        study = replace(study, prompts=_limited(study.prompts, limit))
    return study


def parse_study(values: Mapping[str, Any], path: Path, check_files: bool = True) -> Study:
    """Makes a study of the values of a study file or of `study_spec`.

    Args:
        values: the tables.
        path: the file they come from; its folder is where relative paths are looked for.
        check_files: whether the files and folders that it names must exist.

    Raises:
        StudyError: one clear message about the first thing that is wrong.
    """
    top = Table(values, str(path), "", StudyError)
    name = _name(top, "name", NAME, "lower-case letters, digits and '-'")
    models = tuple(_model(table, path, check_files) for table in top.take_tables("model"))
    scorers = _scorers(top, path, check_files)
    study = Study(
        name=name,
        title=top.take_text("title", name),
        description=top.take_text("description", ""),
        seeds=top.take_wholes("seeds", 0, MAX_SEED),
        prompts=_prompts(top.take_table("prompts"), path, check_files),
        scorer=scorers[0],
        concepts=_concepts(top.take_table("concepts"), path, check_files),
        run=_run(top.take_table("run", {})),
        measures=_measures(top.take_table("measures", {})),
        models=models,
        path=path,
        further_scorers=scorers[1:],
    )
    top.finish()
    _refuse_same_model(study)
    _refuse_unknown_models(study)
    _refuse_late_steps(study)
    return study


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """The seeds, if they can be used.

    Raises:
        StudyError: none, one twice, or one out of range.
    """
    return Table({"seeds": list(seeds)}, "--seeds", "", StudyError).take_wholes(
        "seeds", 0, MAX_SEED
    )


def _limited(prompts: PromptSource, limit: int) -> PromptSource:
    if limit < 1:
        raise StudyError(f"--limit = {limit} is out of range. Give at least 1.")
    return replace(prompts, limit=min(limit, prompts.limit or limit))


def _name(table: Table, key: str, pattern: re.Pattern[str], allowed: str) -> str:
    value = table.take_text(key, empty=False)
    if not pattern.fullmatch(value):
        raise table.fail(key, f"= {show(value)} is not a name. Allowed: {allowed}, at most 64.")
    return value


def resolve(given: str, study: Path) -> Path:
    """The file that a study means: from the current folder, the project's root, or beside it."""
    path = Path(given)
    places = (Path.cwd(), Path(__file__).resolve().parent.parent, study.resolve().parent)
    if path.is_absolute():
        return path
    if path.exists():
        return path  # as written, so that messages and records stay short
    return next((place / path for place in places if (place / path).exists()), path)


def _file(table: Table, key: str, study: Path, check: bool, advice: str) -> Path:
    given = table.take_place(key)
    if not check:
        return Path(given)
    path = resolve(given, study)
    if not path.is_file():
        problem = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise table.fail(key, f"= {show(given)} {problem}. {advice}")
    return path


def _prompts(table: Table, study: Path, check: bool) -> PromptSource:
    obtain = table.take_text("obtain", "")
    advice = obtain or "Paths start at the project's root, or at the study file's folder."
    path = _file(table, "path", study, check, advice)
    source = PromptSource(
        path=path,
        format=_format(table, path),
        columns=_columns(table.take_table("columns", {})),
        split=table.take_text("split", empty=False) if table.has("split") else None,
        limit=table.take_optional_whole("limit", 1, MAX_COUNT),
        sample=table.take_optional_whole("sample", 1, MAX_COUNT),
        sample_seed=table.take_whole("sample_seed", 0, 0, MAX_SEED),
        duplicates=table.take_choice("duplicates", DUPLICATES, "drop"),
        obtain=obtain,
    )
    if source.split and source.format != "karpathy":
        raise table.fail("split", f'needs format = "karpathy", not {source.format!r}.')
    if check and source.limit and source.sample:
        raise table.fail("sample", "and prompts.limit exclude each other. Keep one.")
    table.finish()
    return source


def _format(table: Table, path: Path) -> str:
    endings = {"ndjson": "jsonl", "text": "txt", "pq": "parquet"}
    ending = path.suffix.lower().lstrip(".")
    ending = endings.get(ending, ending)
    if not table.has("format") and ending not in FORMATS:
        raise table.fail(
            "format",
            f"is missing and {show(path.name)} does not tell. Allowed: {', '.join(FORMATS)}.",
        )
    return table.take_choice("format", FORMATS, ending)


def _columns(table: Table) -> Mapping[str, str]:
    columns = {role: table.take_text(role, empty=False) for role in COLUMNS if table.has(role)}
    table.finish()
    return columns


def _source(table: Table, study: Path, check: bool) -> str:
    """A folder that exists, or a name that something else looks up; never a missing folder."""
    given = table.take_place("source")
    if not check:
        return given
    path = resolve(given, study)
    if path.is_dir():
        return str(path)
    looks_like_folder = given.count("/") > 1 or given.startswith((".", "/", "~", "data/"))
    if (path.exists() or looks_like_folder) and ":" not in given:
        problem = "is a file" if path.exists() else "does not exist"
        raise table.fail(
            "source", f"= {show(given)} {problem}. Give the folder of a model, or its Hub id."
        )
    return given


def _scorers(top: Table, study: Path, check: bool) -> tuple[ScorerSpec, ...]:
    """One [scorer], or a list of [[scorer]] that all have a name: the one given, or one made of the source."""
    if not isinstance(top.raw("scorer"), list | tuple):
        return (_scorer(top.take_table("scorer"), study, check),)
    tables = top.take_tables("scorer")
    if len(tables) > MAX_SCORERS:
        raise top.fail("scorer", f"holds {len(tables)} tables. Allowed: 1 to {MAX_SCORERS}.")
    scorers = tuple(_scorer(table, study, check) for table in tables)
    if len(scorers) == 1:
        return scorers
    named = tuple(replace(each, name=scorer_name(each)) for each in scorers)
    _refuse_same_scorer(top, named)
    return named


def _scorer(table: Table, study: Path, check: bool) -> ScorerSpec:
    name = ""
    if table.has("name"):
        name = _name(table, "name", MODEL_NAME, "letters, digits, '.', '_' and '-'")
        table.name = f"scorer {name!r}"
    scorer = ScorerSpec(_source(table, study, check), table.take_text("pretrained", ""), name)
    table.finish()
    return scorer


def scorer_name(scorer: ScorerSpec) -> str:
    """The scorer's name: the one given, or the last part of its source and its tag, as "ViT-B-32-openai"."""
    parts = [Path(scorer.source.rstrip("/")).name, scorer.pretrained]
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(part for part in parts if part))
    return scorer.name or plain.strip("-._")[:64] or "scorer"


def _refuse_same_scorer(top: Table, scorers: Sequence[ScorerSpec]) -> None:
    for name, times in Counter(scorer.name for scorer in scorers).items():
        if times > 1:
            raise top.fail(
                "scorer",
                f"holds {show(name)} {times} times. Give each [[scorer]] a name of its own, as name = "
                f'"{name[:62]}-2".',
            )


def _concepts(table: Table, study: Path, check: bool) -> ConceptSource:
    advice = "Banks are in data/concepts; data/concepts/general.toml suits most models."
    path = _file(table, "path", study, check, advice)
    families = table.take_words("families") if table.has("families") else None
    if families == ():
        raise table.fail("families", "is an empty list. Name a family, or leave the key out.")
    table.finish()
    return ConceptSource(path, families)


def _run(table: Table) -> RunSettings:
    settings = RunSettings(
        batch_size=None
        if table.values.get("batch_size") == "auto" and table.has("batch_size")
        else table.take_whole("batch_size", 8, 1, 4096),
        unit_prompts=table.take_whole("unit_prompts", 16, 1, 65536),
    )
    table.finish()
    return settings


def _model(table: Table, study: Path, check: bool) -> ModelSpec:
    name = _name(table, "name", MODEL_NAME, "letters, digits, '.', '_' and '-'")
    table.name = f"model {name!r}"
    source = _source(table, study, check)
    if check and not Path(source).is_dir() and not HUB_ID.fullmatch(source):
        raise table.fail(
            "source", f"= {show(source)} is neither a folder nor a Hub id (owner/name)."
        )
    schedule = table.take_choice("schedule", SCHEDULES, "default")
    spec = ModelSpec(
        name=name,
        label=table.take_text("label", name, empty=False),
        source=source,
        revision=table.take_text("revision", empty=False) if table.has("revision") else None,
        dtype=table.take_choice("dtype", DTYPES, "auto"),
        scheduler=_scheduler(table),
        steps=table.take_whole("steps", 30, 1, MAX_STEPS),
        guidance=table.take_number("guidance", 4.0, 0.0, 1000.0),
        schedule=schedule,
        gamma=_gamma(table, schedule),
        negative_prompt=table.take_text("negative_prompt", ""),
        height=table.take_optional_whole("height", 8, 8192),
        width=table.take_optional_whole("width", 8, 8192),
        steps_decoder=_steps_decoder(table, study, check),
        offload=table.take_choice("offload", OFFLOADS) if table.has("offload") else None,
        **{key: table.take_flag(key, False) or None for key in MODEL_FLAGS},
    )
    table.finish()
    return spec


def _steps_decoder(table: Table, study: Path, check: bool) -> str | None:
    """A folder that exists, or a Hub id."""
    if not table.has("steps_decoder"):
        return None
    given = table.take_place("steps_decoder")
    path = resolve(given, study)
    if not check or path.is_dir():
        return given if not check else str(path)
    if not HUB_ID.fullmatch(given):
        raise table.fail(
            "steps_decoder", f"= {show(given)} is neither a folder nor a Hub id (owner/name)."
        )
    return given


def _scheduler(table: Table) -> str | None:
    if not table.has("scheduler"):
        return None
    value = table.take_text("scheduler", empty=False)
    if not CLASS_NAME.fullmatch(value):
        raise table.fail("scheduler", f"= {show(value)} is not the name of a diffusers scheduler.")
    return value


def _gamma(table: Table, schedule: str) -> float | None:
    if schedule in ("early", "late"):
        return table.take_number("gamma", 60.0, 0.0, 1e6)
    if table.has("gamma"):
        raise table.fail("gamma", f'needs schedule = "early" or "late", not {schedule!r}.')
    return None


def _measures(table: Table) -> Measures:
    tools = {
        name.replace("-", "_"): _tool(table.take_table(name), name) if table.has(name) else None
        for name in TOOL_OPTIONS
    }
    measures = Measures(
        frames=_frames(table.take_table("frames")) if table.has("frames") else None,
        agreement=table.take_flag("agreement", False),
        spectrum=table.take_flag("spectrum", False),
        embeddings=table.take_flag("embeddings", False),
        protocol=table.take_choice("protocol", PROTOCOLS, "ours"),
        **tools,  # type: ignore[arg-type]
    )
    table.finish()
    return measures


def _frames(table: Table) -> Frames:
    frames = Frames(
        stride=table.take_whole("stride", 1, 1, MAX_STEPS),
        size=table.take_whole("size", 64, 8, 4096),
        quality=table.take_whole("quality", 80, 1, 100),
    )
    table.finish()
    return frames


def _tool(table: Table, name: str) -> ToolSpec:
    steps, stride = _steps(table)
    prompts = table.take_optional_whole("prompts", 1, MAX_COUNT)
    models = table.take_words("models") if table.has("models") else None
    seeds = table.take_optional_whole("seeds", 1, MAX_COUNT)
    options = {key: take(table, key) for key, take in TOOL_OPTIONS[name].items() if table.has(key)}
    table.finish()
    return ToolSpec(steps, stride, prompts, models, seeds, options)


def _steps(table: Table, key: str = "steps") -> tuple[tuple[int, ...] | None, int | None]:
    """("all" | [0, 10] | { stride = 5 }) as (steps, stride)."""
    value = table.raw(key) if table.has(key) else "all"
    if value == "all":
        return None, None
    if isinstance(value, Mapping):
        inner = table.take_table(key)
        stride = inner.take_whole("stride", None, 1, MAX_STEPS)
        inner.finish()
        return None, stride
    if isinstance(value, list | tuple):
        return table.take_wholes(key, 0, MAX_STEPS - 1), None
    raise table.fail(key, f'= {show(value)}. Allowed: "all", [0, 10] or {{ stride = 5 }}.')


def _take_steps(table: Table, key: str) -> Option:
    steps, stride = _steps(table, key)
    return steps if steps is not None else ("stride", stride or 1)


def _flag(table: Table, key: str) -> Option:
    return table.take_flag(key, False)


def _names(table: Table, key: str) -> Option:
    return table.take_words(key)


def _whole(low: int, high: int) -> Any:
    return lambda table, key: table.take_whole(key, None, low, high)


def _number(low: float, high: float) -> Any:
    return lambda table, key: table.take_number(key, None, low, high)


def _choice(allowed: Sequence[str]) -> Any:
    return lambda table, key: table.take_choice(key, allowed)


def _choices(allowed: Sequence[str]) -> Any:
    def take(table: Table, key: str) -> tuple[str, ...]:
        words = table.take_words(key)
        for word in words:
            Table({key: word}, table.place, table.name, table.error).take_choice(key, allowed)
        return words

    return take


# What each tool takes beside `steps` and `prompts`: key -> how it is read.
TOOL_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "attention": {"maps": _flag, "map_steps": _take_steps, "words": _names},
    "relevance": {"maps": _flag, "map_steps": _take_steps, "words": _names},
    "df-cam": {"layers": _names},
    "df-rise": {
        "masks": _whole(1, 1_000_000),
        "similarity": _choice(SIMILARITIES),
        "side": _whole(1, 1024),
        "probability": _number(0.001, 0.999),
        "per_pixel": _flag,
        "divide": _flag,
        "against_next": _flag,
        "chunk": _whole(1, 65536),
        "seed": _whole(0, MAX_SEED),
    },
    "lime": {
        "perturbations": _whole(1, 1_000_000),
        "segmentation": _choice(("quickshift", "slic", "felzenszwalb")),
        "segments": _whole(2, 65536),
        "similarity": _choice(tuple(name for name in SIMILARITIES if name != "fid")),
        "chunk": _whole(1, 65536),
        "seed": _whole(0, MAX_SEED),
    },
    "faithfulness": {
        "methods": _choices(METHODS),
        "games": _choices(GAMES),
        "scores": _choices(SCORES),
        "seed": _whole(0, MAX_SEED),
    },
}


def _refuse_same_model(study: Study) -> None:
    names = [model.name for model in study.models]
    labels = [model.label for model in study.models]
    for key, values in (("name", names), ("label", labels)):
        for value, times in Counter(values).items():
            if times > 1:
                raise StudyError(
                    f"{study.path}: model.{key} = {show(value)} is used twice. "
                    f"Give each [[model]] a {key} of its own."
                )


def _refuse_unknown_models(study: Study) -> None:
    names = [model.name for model in study.models]
    for name, tool in study.measures.tools().items():
        for wanted in tool.models or ():
            if wanted not in names:
                raise StudyError(
                    f"{study.path}: measures.{name}.models holds {show(wanted)}, which is no model of this "
                    f"study. Allowed: {', '.join(names)}."
                )


def _refuse_late_steps(study: Study) -> None:
    for name, tool in study.measures.tools().items():
        last = max(tool.steps or (0,))
        for model in study.models:
            if last >= model.steps and (tool.models is None or model.name in tool.models):
                raise StudyError(
                    f"{study.path}: measures.{name}.steps holds {last}, but model {model.name!r} "
                    f"has steps 0 to {model.steps - 1}. Leave it out, or raise the model's steps."
                )


def study_spec(study: Study) -> dict[str, Any]:
    """The study as plain values, every default written out: what is stored and hashed.

    `parse_study(study_spec(study), study.path)` is the same study.
    """
    return {
        "name": study.name,
        "title": study.title,
        "description": study.description,
        "seeds": list(study.seeds),
        "prompts": _prompts_spec(study.prompts),
        "scorer": [_scorer_spec(scorer) for scorer in study.scorers]
        if study.further_scorers
        else _scorer_spec(study.scorer),
        "concepts": _present(
            path=study.concepts.path.as_posix(),
            families=list(study.concepts.families) if study.concepts.families else None,
        ),
        "run": {
            "batch_size": study.run.batch_size or "auto",
            "unit_prompts": study.run.unit_prompts,
        },
        "measures": measures_spec(study.measures),
        "model": [model_spec(model) for model in study.models],
    }


def _scorer_spec(scorer: ScorerSpec) -> dict[str, Any]:
    return _present(
        name=scorer.name or None, source=scorer.source, pretrained=scorer.pretrained
    )  # without a name as before there were several, so that old studies keep their spelling


def _prompts_spec(source: PromptSource) -> dict[str, Any]:
    return _present(
        path=source.path.as_posix(),
        format=source.format,
        columns=dict(source.columns),
        split=source.split,
        limit=source.limit,
        sample=source.sample,
        sample_seed=source.sample_seed,
        duplicates=source.duplicates,
        obtain=source.obtain,
    )


def model_spec(model: ModelSpec) -> dict[str, Any]:
    """A model entry as plain values; what is absent is left out."""
    return _present(**{name: getattr(model, name) for name in ModelSpec.__dataclass_fields__})


def measures_spec(measures: Measures) -> dict[str, Any]:
    """The measures as plain values; what is absent is left out."""
    frames = measures.frames
    return _present(
        frames=frames and {"stride": frames.stride, "size": frames.size, "quality": frames.quality},
        **{name: _tool_spec(tool) for name, tool in measures.tools().items()},
        agreement=measures.agreement,
        spectrum=measures.spectrum,
        embeddings=measures.embeddings,
        protocol=measures.protocol,
    )


def _tool_spec(tool: ToolSpec) -> dict[str, Any]:
    stride = {"stride": tool.stride} if tool.stride else "all"
    options = {key: _plain(value) for key, value in tool.options.items()}
    steps = list(tool.steps) if tool.steps is not None else stride
    models = list(tool.models) if tool.models is not None else None
    return _present(steps=steps, prompts=tool.prompts, models=models, seeds=tool.seeds, **options)


def _plain(value: Option) -> Any:
    if isinstance(value, tuple) and value[:1] == ("stride",):
        return {"stride": value[1]}
    return list(value) if isinstance(value, tuple) else value


def _present(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
