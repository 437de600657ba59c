"""A study: which prompts, models, seeds and measures. Read from TOML, checked before any work.

Example: data/studies/demo.toml. The records are frozen, and `study_spec` turns them back into
plain values from which `parse_study` makes the same study.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

SIMILARITIES = ("structure", "ssim", "contrast", "luminance", "cosine", "clip", "inception", "fid")
OF_IMAGES = (
    "clip",
    "inception",
    "fid",
)  # similarities of decoded images; the others are of latents
# The tables of a study file's [measures] that are tools, in the order they are run.
TOOLS = (
    *("attention", "relevance", "df-cam", "df-rise", "lime", "faithfulness", "switch"),
    *("critical-windows", "concept-attention", "information"),
)
DESIGNS = ("independent", "antithetic", "hadamard", "shifted-hadamard")  # of DF-RISE's masks
METHODS = ("df-rise", "df-cam", "lime", "attention", "relevance", "random")
GAMES = ("insertion", "deletion")
BASELINES = ("zero", "re-noised", "resampled")  # what stands in a removed region
DEFAULT_BASELINES = ("zero",)
DIRECTIONS = ("insert", "remove")  # of a prompt switch: to the prompt, or away from it
SCORES = ("clip", "structure", "inception", "fid")
# What "fid" was: a distance of CLIP vectors. Studies of that time are read, and no longer run.
RENAMED_SCORE = "fid"
LAYOUTS = (  # of images that exist
    "auto",
    "imagefolder",
    "csv",
    "parquet",
    "geneval",
    "t2i-compbench",
    "dpg-bench",
    "sd-scripts",
    "ai-toolkit",
)
JUDGED = ("switch", "critical-windows")  # tools that may have a judge
MAX_SEED = 2**63 - 1
MAX_STEPS = 10_000
MAX_COUNT = 1_000_000_000
MAX_SCORERS = 9  # each has a schema of the database, scorer_2 to scorer_9

# Keys of a model entry that say what it is called and where it belongs, and change no image.
DESCRIPTIVE = ("label", "run", "training_step")

Option = str | int | float | bool | tuple[Any, ...]


@dataclass(frozen=True)
class PromptSource:
    """Where the prompts come from and which of them are taken."""

    path: Path
    format: str
    columns: Mapping[str, str]  # role -> column, only those that the study names
    split: str | None = None
    images: int | None = None  # of Visual Genome: the triples of the first ones; None = all
    shuffle: int | None = None  # the seed of another order; None = as in the file
    limit: int | None = None
    sample: int | None = None
    sample_seed: int = 0
    duplicates: str = "drop"
    obtain: str = ""  # where to get the file, shown when it is missing
    benchmark: str | None = None  # whose file it is, and which prescribes how it is read


@dataclass(frozen=True)
class ScorerSpec:
    """A CLIP model that measures similarity: a folder, an open_clip name or "hf-hub:...".

    `name` tells the scorers of a study apart and decides no number; it may be empty where there is one.
    """

    source: str
    pretrained: str = ""
    name: str = ""


@dataclass(frozen=True)
class DistanceSpec:
    """How far every other entry's final images are from those of a reference entry.

    It is computed from finished images and changes none, so it is no part of what a work unit is.
    """

    kind: str  # "lpips", "dino", "ssim" or "psnr"
    weights: str | None  # a safetensors file (lpips) or a folder (dino); None = the kind has none
    reference: str  # the name of a model
    name: str  # of the score
    steps: bool = False  # of the recorded frames of every step, not of the final images


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

    @property
    def seed(self) -> int:
        """Of the tool's own random numbers; 0 unless set."""
        seed = self.options.get("seed", 0)
        return seed if isinstance(seed, int) else 0

    def at(self, total_steps: int) -> tuple[int, ...]:
        """The steps that the tool looks at, in order; a stride includes the last step."""
        if self.steps is not None:
            return tuple(sorted(step for step in self.steps if step < total_steps))
        return strided(total_steps, self.stride or 1)

    def map_steps(self, total_steps: int) -> tuple[int, ...]:
        """The steps whose maps per word or concept are stored: none unless `maps = true`."""
        wanted = self.options.get("map_steps")
        if not self.options.get("maps") and wanted is None:
            return ()
        if not isinstance(wanted, tuple):
            return self.at(total_steps)
        if wanted[:1] == ("stride",):
            return strided(total_steps, wanted[1])
        return tuple(sorted(step for step in wanted if step < total_steps))

    def after_start(self, total_steps: int) -> tuple[int, ...]:
        """The same without step 0, from which an intervention leaves nothing of the run that it changes."""
        return tuple(step for step in self.at(total_steps) if step > 0)


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
    switch: ToolSpec | None = None
    critical_windows: ToolSpec | None = None
    concept_attention: ToolSpec | None = None
    information: ToolSpec | None = None
    agreement: bool = False
    spectrum: bool = False
    embeddings: bool = False
    protocol: str = "ours"
    inception: Path | None = None  # weights for the score and similarity "inception"

    def tools(self) -> dict[str, ToolSpec]:
        """The tools that are asked for, by the name they have in a study file."""
        options = ((name, getattr(self, name.replace("-", "_"))) for name in TOOLS)
        return {name: tool for name, tool in options if tool is not None}

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
class AdapterSpec:
    """An adapter (LoRA) on a model's weights: a safetensors file or a folder with one, and how much of it is added."""

    source: str
    weight: float = 1.0


@dataclass(frozen=True)
class EmbeddingSpec:
    """An embedding of textual inversion: a safetensors file or a folder with one, and the token that stands for it in prompts."""

    source: str
    token: str


@dataclass(frozen=True)
class CacheSpec:
    """A cache of diffusers in a transformer, with the settings that its method has.

    Attributes:
        method: "first-block", "pyramid-attention" or "faster-cache".
        threshold: of first-block: relative change of the first block's residual up to which the others are taken over.
        every: of the other two: attention is computed at every such step, and taken over (faster-cache: extrapolated) between.
        timesteps: of the other two: between which they do so.
    """

    method: str
    threshold: float | None = None
    every: int | None = None
    timesteps: tuple[int, int] | None = None


@dataclass(frozen=True)
class QuantizationSpec:
    """How a denoiser's weights are quantised when it is loaded.

    Attributes:
        backend: the package that does it.
        bits: of each weight: 4 or 8.
    """

    backend: str
    bits: int


@dataclass(frozen=True)
class ModelSpec:
    """One model entry: the same model with another scheduler or schedule is another entry.

    With a layout it is a model whose images exist: `source` is their folder or list, and nothing is sampled.
    """

    name: str
    label: str
    source: str  # a folder or a Hub id; the images where they exist
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
    variant: str | None = None  # of the weights' files, such as fp16
    attention_backend: str | None = None  # of diffusers; None = its own choice
    config: str | None = None  # of a source that is a single file: a folder in diffusers' layout
    adapters: tuple[AdapterSpec, ...] | None = None
    embeddings: tuple[EmbeddingSpec, ...] | None = None
    cache: CacheSpec | None = None
    quantization: QuantizationSpec | None = None
    run: str | None = None  # the training run that it is a checkpoint of
    training_step: int | None = None  # of that run
    layout: str | None = None  # how images that exist lie on the disk; None = the model is sampled
    tiles: int | None = None  # images in each file of such a layout; None = as the layout says
    checkpoint: int | None = None  # of samples of a training: their step or epoch; None = the last

    @property
    def folder(self) -> str:
        """Where its configuration is: a folder, or a Hub id."""
        return self.config or self.source

    @property
    def imported(self) -> bool:
        """Whether its images exist and are not sampled."""
        return self.layout is not None


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
    distances: tuple[DistanceSpec, ...] = ()
    # How it is run on a Slurm cluster: changes no result, so it is not part of what the study is, nor stored.
    slurm: Mapping[str, str | int] = field(default_factory=dict, compare=False)
    # Folders that a pattern of checkpoints matches and that cannot be used (yet): a line each.
    left_out: tuple[str, ...] = field(default=(), compare=False)

    @property
    def scorers(self) -> tuple[ScorerSpec, ...]:
        """Every scorer; the first is the primary one, which tools, paths and embeddings use alone."""
        return self.scorer, *self.further_scorers


def strided(total_steps: int, stride: int) -> tuple[int, ...]:
    """Every `stride`-th step from 0, and the last."""
    return tuple(sorted({*range(0, total_steps, stride), total_steps - 1}))


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
        **(
            {"distance": [_distance_spec(each) for each in study.distances]}
            if study.distances
            else {}
        ),
    }


def _distance_spec(distance: DistanceSpec) -> dict[str, Any]:
    return _present(**(asdict(distance) | {"steps": distance.steps or None}))


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
        images=source.images,
        shuffle=source.shuffle,
        limit=source.limit,
        sample=source.sample,
        sample_seed=source.sample_seed,
        duplicates=source.duplicates,
        obtain=source.obtain,
        benchmark=source.benchmark,
    )


def model_spec(model: ModelSpec) -> dict[str, Any]:
    """A model entry as plain values; what is absent is left out."""
    if model.imported:
        names = {"name": model.name, "label": model.label, "images": model.source}
        more = {"layout": model.layout, "tiles": model.tiles, "checkpoint": model.checkpoint}
        return _present(**names, **more)
    values = {name: getattr(model, name) for name in ModelSpec.__dataclass_fields__}
    if model.adapters:
        values["adapters"] = [
            {"source": each.source, "weight": each.weight} for each in model.adapters
        ]
    if model.embeddings:
        values["embeddings"] = [
            {"source": each.source, "token": each.token} for each in model.embeddings
        ]
    if model.cache:
        cache = asdict(model.cache)
        values["cache"] = _present(**cache | {"timesteps": _plain(cache["timesteps"])})
    if model.quantization:
        values["quantization"] = asdict(model.quantization)
    return _present(**values)


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
        inception=measures.inception and measures.inception.as_posix(),
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
