"""A study file to a Study: every key checked, with its place named."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import StudyError
from pipeline.study import checkpoints
from pipeline.study.adapters import take_adapters
from pipeline.study.benchmarks import BENCHMARKS
from pipeline.study.caches import take_cache
from pipeline.study.distances import take_distances
from pipeline.study.entries import check_entries
from pipeline.study.image_entry import of_sampled, take_images
from pipeline.study.inversions import take_embeddings
from pipeline.study.prompt_source import resolve, take_file, take_prompts
from pipeline.study.quantization import take_quantization
from pipeline.study.settings import Table, read_toml, show
from pipeline.study.single_file import SUFFIX, take_single_file
from pipeline.study.spec import (
    JUDGED,
    MAX_SCORERS,
    MAX_SEED,
    MAX_STEPS,
    TOOLS,
    ConceptSource,
    Frames,
    Measures,
    ModelSpec,
    Option,
    PromptSource,
    RunSettings,
    ScorerSpec,
    Study,
    ToolSpec,
)
from pipeline.study.tools import FIELDS, take_tool, unknown_fields

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_SIGNS = "letters, digits, '.', '_' and '-'"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
CLASS_NAME = re.compile(r"[A-Za-z_]\w{0,99}")

_SLURM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.,:@+&|*()\[\]-]{0,99}", re.ASCII)
SLURM = {
    **dict.fromkeys(
        ("partition", "account", "qos", "reservation", "constraint", "memory"), _SLURM_NAME
    ),
    "time": re.compile(r"[0-9]{1,6}(-[0-9]{1,2})?(:[0-9]{1,2}){0,2}", re.ASCII),
}
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
ATTENTION_BACKENDS = ("native", "flex", "flash", "sage", "xformers", "_native_math", "_native_efficient", "_native_flash", "_native_cudnn")  # fmt: skip
"""Of diffusers; those that load a kernel from the Hub are code from elsewhere, and are not among them."""
VARIANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", re.ASCII)
PROTOCOLS = ("ours", "park2024")


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
    path = resolve(str(path), Path(path))
    study = parse_study(read_toml(path, StudyError), path)
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
    models, left_out = _models(top, path, check_files)
    scorers = _scorers(top, path, check_files)
    prompts = take_prompts(top.take_table("prompts"), path, check_files)
    measures = _measures(top.take_table("measures", {}), path, check_files)
    measures = of_sampled(measures, models, path)
    find = (lambda p: resolve(p, path)) if check_files else None
    study = Study(
        name=name,
        title=top.take_text("title", name),
        description=top.take_text("description", ""),
        seeds=_seeds(top, prompts),
        prompts=prompts,
        scorer=scorers[0],
        concepts=_concepts(top.take_table("concepts"), path, check_files),
        run=_run(top.take_table("run", {})),
        measures=measures,
        models=models,
        path=path,
        further_scorers=scorers[1:],
        distances=take_distances(top, models, find, frames=measures.frames is not None),
        slurm=_slurm(top.take_table("slurm", {})),
        left_out=left_out,
    )
    top.finish()
    check_entries(study)
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


def _seeds(top: Table, prompts: PromptSource) -> tuple[int, ...]:
    """The seeds given, or as many as the benchmark has images of each prompt."""
    if prompts.benchmark and not top.has("seeds"):
        return BENCHMARKS[prompts.benchmark].seeds
    return top.take_wholes("seeds", 0, MAX_SEED)


def _source(table: Table, study: Path, check: bool) -> str:
    """A folder that exists, or a name that something else looks up; never a missing folder."""
    source = table.take_place("source")
    if not check:
        return source
    path = resolve(source, study)
    if path.is_dir():
        return str(path)
    looks_like_folder = source.count("/") > 1 or source.startswith((".", "/", "~", "data/"))
    if (path.exists() or looks_like_folder) and ":" not in source:
        problem = "is a file" if path.exists() else "does not exist"
        if path.is_file() and path.suffix == SUFFIX:
            problem += ', so config = "FOLDER" must name the folder of its configuration'
        raise table.fail(
            "source", f"= {show(source)} {problem}. Give the folder of a model, or its Hub id."
        )
    return source


def _scorers(top: Table, study: Path, check: bool) -> tuple[ScorerSpec, ...]:
    """One [scorer], or a list of [[scorer]] that all have a name: the one given, or one made of the source."""
    if not isinstance(top.raw("scorer"), list | tuple):
        return (_scorer(top.take_table("scorer"), study, check),)
    tables = top.take_tables("scorer", MAX_SCORERS)
    scorers = tuple(_scorer(table, study, check) for table in tables)
    if len(scorers) == 1:
        return scorers
    named = tuple(replace(each, name=scorer_name(each)) for each in scorers)
    _refuse_same_scorer(top, named)
    return named


def _scorer(table: Table, study: Path, check: bool) -> ScorerSpec:
    name = ""
    if table.has("name"):
        name = _name(table, "name", MODEL_NAME, NAME_SIGNS)
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
    path = take_file(table, "path", study, check, advice)
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


def _slurm(table: Table) -> Mapping[str, str | int]:
    """Options for a Slurm cluster, by key; values are names, numbers or times, never further options."""
    values: dict[str, str | int] = {
        key: check_slurm(key, table.take_text(key, empty=False), table.fail)
        for key in SLURM
        if table.has(key)
    }
    for key, most in (("cpus", 1024), ("parts", 10_000)):
        if (count := table.take_optional_whole(key, 1, most)) is not None:
            values[key] = count
    table.finish()
    return values


def check_slurm(key: str, value: str, fail: Callable[[str, str], Exception]) -> str:
    """The value of an option for Slurm. Raises what `fail` makes where it could be anything else than one value."""
    if not SLURM[key].fullmatch(value):
        allowed = (
            "a time such as 90, 4:00:00 or 1-12"
            if key == "time"
            else "letters, digits and _.,:@+&|*()[]-"
        )
        raise fail(key, f"= {show(value)} is not a value for Slurm. Allowed: {allowed}.")
    return value


def _models(top: Table, study: Path, check: bool) -> tuple[tuple[ModelSpec, ...], tuple[str, ...]]:
    """The model entries, one for each checkpoint of a pattern, and the folders that patterns leave out."""
    entries: list[Table] = []
    left_out: list[str] = []
    for table in top.take_tables("model"):
        if not table.has("checkpoints") or not check:  # in a record there are no patterns
            entries.append(table)
            continue
        above = table.take_place("checkpoints").rstrip("/").rpartition("/")[0]
        more, without = checkpoints.expand(table, resolve(above or ".", study))
        entries += more
        left_out += without
    return tuple(_model(table, study, check) for table in entries), tuple(left_out)


def _model(table: Table, study: Path, check: bool) -> ModelSpec:
    name = _name(table, "name", MODEL_NAME, NAME_SIGNS)
    table.name = f"model {name!r}"
    if table.has("images"):
        return take_images(table, name, (lambda name: resolve(name, study)) if check else None)
    find = (lambda name: resolve(name, study)) if check else None
    source, config = _weights(table, study, check)
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
        **_loading(table),
        config=config,
        adapters=take_adapters(table, find),
        embeddings=take_embeddings(table, find),
        cache=take_cache(table),
        quantization=take_quantization(table),
        run=_name(table, "run", MODEL_NAME, NAME_SIGNS) if table.has("run") else None,
        training_step=table.take_optional_whole("training_step", 0, checkpoints.MAX_STEP),
    )
    if (spec.run is None) != (spec.training_step is None):
        missing = "run" if spec.run is None else "training_step"
        raise table.fail(missing, "is missing: a checkpoint has both run and training_step.")
    table.finish()
    return spec


def _weights(table: Table, study: Path, check: bool) -> tuple[str, str | None]:
    """(a folder or a Hub id, None), or (a single file, the folder of its configuration)."""
    if table.has("config"):
        return take_single_file(table, (lambda name: resolve(name, study)) if check else None)
    source = _source(table, study, check)
    if check and not Path(source).is_dir() and not HUB_ID.fullmatch(source):
        raise table.fail(
            "source", f"= {show(source)} is neither a folder nor a Hub id (owner/name)."
        )
    return source, None


def _loading(table: Table) -> dict[str, Any]:
    """How the weights are loaded and run; None for what the entry does not name."""
    if table.has("offload") and table.raw("offload") == "group":
        raise table.fail("offload", "= 'group' is not offered: group offload moves weights off the GPU before a gradient has passed through them. Allowed: model, sequential.")  # fmt: skip
    choices = {"offload": OFFLOADS, "attention_backend": ATTENTION_BACKENDS}
    values: dict[str, Any] = {key: table.take_flag(key, False) or None for key in MODEL_FLAGS}
    values |= {k: table.take_choice(k, v) if table.has(k) else None for k, v in choices.items()}
    signs = "letters, digits, '_' and '-'"
    variant = _name(table, "variant", VARIANT, signs) if table.has("variant") else None
    return {**values, "variant": variant}


def _steps_decoder(table: Table, study: Path, check: bool) -> str | None:
    """A folder that exists, or a Hub id."""
    if not table.has("steps_decoder"):
        return None
    source = table.take_place("steps_decoder")
    path = resolve(source, study)
    if not check or path.is_dir():
        return source if not check else str(path)
    if not HUB_ID.fullmatch(source):
        raise table.fail(
            "steps_decoder", f"= {show(source)} is neither a folder nor a Hub id (owner/name)."
        )
    return source


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


def _measures(table: Table, study: Path, check: bool) -> Measures:
    tools = {
        name.replace("-", "_"): take_tool(table.take_table(name), name) if table.has(name) else None
        for name in TOOLS
    }
    measures = Measures(
        frames=_frames(table.take_table("frames")) if table.has("frames") else None,
        agreement=table.take_flag("agreement", False),
        spectrum=table.take_flag("spectrum", False),
        embeddings=table.take_flag("embeddings", False),
        protocol=table.take_choice("protocol", PROTOCOLS, "ours"),
        inception=_inception(table, study, check),
        **tools | _with_judges(table, tools, study, check),  # type: ignore[arg-type]
    )
    table.finish()
    return measures


def _with_judges(
    table: Table, tools: Mapping[str, ToolSpec | None], study: Path, check: bool
) -> dict[str, ToolSpec | None]:
    """The tools that may have a judge, with its folder as it lies on this machine; all have the same one.

    Raises:
        StudyError: settings that exclude each other, no folder, or two judges.
    """
    if tools["switch"] is not None:
        _check_template(table.take_table("switch"), tools["switch"].options)
    judged = {name: tools[name.replace("-", "_")] for name in JUDGED}
    folders = {
        name: _judge(table.take_table(name), tool, study, check)
        for name, tool in judged.items()
        if tool
    }
    if len({folder for folder in folders.values() if folder}) > 1:
        raise table.take_table(JUDGED[1]).fail(
            "judge", f"is another one than that of {JUDGED[0]}. Give one judge."
        )
    return {
        name.replace("-", "_"): tool and _judged_by(tool, folders[name])
        for name, tool in judged.items()
    }


def _judged_by(tool: ToolSpec, folder: str | None) -> ToolSpec:
    return replace(tool, options={**tool.options, "judge": folder}) if folder else tool


def _check_template(where: Table, options: Mapping[str, Option]) -> None:
    template = options.get("template")
    if template is not None and "bases" in options:
        raise where.fail("bases", "and template exclude each other. Keep one.")
    for name in unknown_fields(template) if isinstance(template, str) else ():
        raise where.fail(
            "template", f"holds {{{name}}}. Allowed: {', '.join(f'{{{each}}}' for each in FIELDS)}."
        )


def _judge(where: Table, tool: ToolSpec, study: Path, check: bool) -> str | None:
    judge = tool.options.get("judge")
    if not check or not isinstance(judge, str):
        return judge if isinstance(judge, str) else None
    folder = resolve(judge, study)
    if not folder.is_dir():
        raise where.fail("judge", f"= {show(judge)} is no folder. Give that of a scenes-judge.")
    return str(folder)


def _inception(table: Table, study: Path, check: bool) -> Path | None:
    advice = "docs/paper.md says how to convert the weights."
    return take_file(table, "inception", study, check, advice) if table.has("inception") else None


def _frames(table: Table) -> Frames:
    frames = Frames(
        stride=table.take_whole("stride", 1, 1, MAX_STEPS),
        size=table.take_whole("size", 64, 8, 4096),
        quality=table.take_whole("quality", 80, 1, 100),
    )
    table.finish()
    return frames
