"""How far each explanation can be trusted, on scenes whose object masks are known exactly.

Real scenes are noised to a step's noise level and that step is explained: does the map find the
objects, and does it change when the model's weights are shuffled? See `run_trust`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from pipeline import models
from pipeline.demo.corpus import to_pixels
from pipeline.demo.scenes import Scene, caption, compose, sample_scene, words
from pipeline.explain.maps import resize_map
from pipeline.explain.recorders import AttentionRecorder, RelevanceRecorder, StepWords
from pipeline.explain.tools import TOOLS
from pipeline.localisation import cascade, localise, map_spearman, randomised
from pipeline.observe import Batch, StepView, Watch
from pipeline.prompts import Prompt
from pipeline.sampling import count_calls, generate
from pipeline.scorer import Scorer
from pipeline.study import ModelSpec, ScorerSpec, ToolSpec

NAMES = ("scenes-unet", "scenes-unet-short", "scenes-dit")
SEED = 92_001
GUIDANCE = 4.0
STAGES = 4
BOOTSTRAP = 2000

Maps = dict[tuple[str, str], Float[np.ndarray, "h w"]]
"""(method, word) -> map; word '' for the map of the whole prediction."""


@dataclass(frozen=True)
class TrustOptions:
    """What is run: scenes explained, steps, masks per map, scenes for the randomised model."""

    scenes: int = 12
    steps: int = 30
    at: tuple[int, ...] = (3, 10, 18, 26)
    masks: int = 128
    random_scenes: int = 2
    random_at: tuple[int, ...] = (10,)
    batch: int = 8


# A look of about a minute on two cores, for `make demo`: the same procedure, wider intervals.
QUICK = TrustOptions(scenes=6, at=(6, 18), masks=48, random_scenes=1, random_at=(6,), batch=6)


@dataclass(frozen=True)
class KnownScene:
    """A scene, its picture and the pixels of each of its objects."""

    scene: Scene
    image: Float[Tensor, "3 h w"]
    masks: Bool[np.ndarray, "object h w"]


def known_scenes(count: int, seed: int = SEED) -> list[KnownScene]:
    """Scenes that no training saw, drawn from the categories that were trained on."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        scene = sample_scene(rng)
        image, masks = compose(scene, rng)
        found.append(KnownScene(scene, to_pixels(torch.from_numpy(image)[None])[0], masks))
    return found


def scene_prompt(scene: Scene, position: int) -> Prompt:
    """The scene's caption with the roles of its words."""
    roles: dict[str, tuple[str, ...]] = {}
    for word, role in words(scene):
        if role != "other":
            roles[role] = (*roles.get(role, ()), word)
    text = caption(scene)
    return Prompt(text, text, "scene", "", roles, position)


def targets(known: KnownScene) -> dict[str, Bool[np.ndarray, "h w"]]:
    """What a map should find: '' all objects, or the object that a word names."""
    found: dict[str, Any] = {"": known.masks.any(0)}
    for name, mask in zip(known.scene.objects, known.masks, strict=True):
        if mask.any():
            found[name] = mask
    return found


class TrustObserver:
    """At some steps, explains real scenes noised to the step's level, under their own captions."""

    def __init__(
        self,
        batch: Batch,
        clean: Float[Tensor, "b c h w"],
        at: Sequence[int],
        masks: int,
        instead: Callable[[TrustObserver, StepView], None] | None = None,
    ) -> None:
        """`instead` takes the place of explaining and keeping the maps of a noised step."""
        self._batch, self._clean, self._at, self._masks = batch, clean, at, masks
        self._instead = instead
        self.views: dict[int, StepView] = {}
        self.maps: dict[int, list[Maps]] = {}

    def on_step(self, view: StepView) -> None:
        """Explain the noised scenes; the run itself goes on untouched."""
        if view.step not in self._at:
            return
        scenes = noised(view, self._clean)
        if self._instead is not None:
            self._instead(self, scenes)
        else:
            self.maps[view.step] = self.explain(scenes)

    def columns(self, item: int) -> dict[str, Any]:
        """Nothing goes into a shard."""
        return {}

    def explain(self, view: StepView) -> list[Maps]:
        """Every method's maps of every item at a step."""
        items = list(range(len(self._batch.prompts)))
        found: list[Maps] = [{} for _ in items]
        settings = {
            "df-rise": ToolSpec(options={"masks": self._masks}),
            "lime": ToolSpec(options={"perturbations": self._masks}),
        }
        for method, tool in TOOLS.items():
            maps = tool(view, items, settings.get(method, ToolSpec()), "ours")
            for item, values in maps.items():
                found[item][method, ""] = values.float().cpu().numpy()
        for method, read in self._word_methods(view, items).items():
            for item, step_words in read.items():
                named = {"": step_words.whole()} | step_words.named()
                for word, values in named.items():
                    found[item][method, word] = values.float().cpu().numpy()
        return found

    def _word_methods(self, view: StepView, items: list[int]) -> dict[str, Mapping[int, StepWords]]:
        with AttentionRecorder(self._batch, {view.step: items}) as recorder:
            recorder.expect(view.step)
            view.denoiser.replay()
            attention = recorder.take(view)
        return {
            "attention": attention,
            "relevance": RelevanceRecorder(self._batch).take(view, items),
        }


def noised(view: StepView, clean: Float[Tensor, "b c h w"]) -> StepView:
    """The same step on real latents: x_t = alpha x0 + sigma eps, eps from a seed of the step."""
    generator = torch.Generator().manual_seed(SEED + view.step)
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    latents = (view.alpha * clean + view.sigma * noise).to(view.latents)
    moved = replace(view.denoiser, latents=latents)
    prediction = moved.replay()
    denoised = moved.denoised(latents, prediction)
    denoiser = replace(moved, prediction=prediction)
    return replace(
        view, latents=latents, prediction=prediction, denoised=denoised, denoiser=denoiser
    )


@torch.no_grad()
def encode(pipeline: Any, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h w"]:
    """Pictures in [-1, 1] to the latents that the denoiser works on."""
    config = pipeline.vae.config
    latents = pipeline.vae.encode(images.to(pipeline.vae.dtype)).latent_dist.mean
    shift = getattr(config, "shift_factor", None) or 0.0
    return (latents - shift) * config.scaling_factor


def run_trust(
    folder: Path,
    names: Sequence[str] = NAMES,
    options: TrustOptions = TrustOptions(),
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the `localisation` and `randomisation` tables, with `model` for `model_id`."""
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    scorer = Scorer(ScorerSpec(str(folder / "scenes-clip")))
    known = known_scenes(options.scenes)
    localisation: list[dict[str, Any]] = []
    randomisation: list[dict[str, Any]] = []
    with tqdm(total=len(names) * _scene_steps(options), unit=" scene steps", desc="trust") as bar:
        for name in names:
            bar.set_postfix_str(name)
            spec = ModelSpec(name, name, str(folder / name), steps=options.steps, guidance=GUIDANCE)
            pipeline = models.open_pipeline(spec, torch.device("cpu"))
            for start in range(0, len(known), options.batch):
                part = known[start : start + options.batch]
                observer = _observe(pipeline, spec, scorer, part, start, options.at, options.masks)
                localisation += _localisation_rows(name, part, start, observer.maps)
                bar.update(len(part) * len(options.at))
            few = known[: options.random_scenes]
            randomisation += list(_randomisation_rows(pipeline, spec, scorer, few, options))
            bar.update(_scene_steps(options) - len(known) * len(options.at))
    return localisation, randomisation


def _scene_steps(options: TrustOptions) -> int:
    """Explained scenes and steps of one model: the known scenes, and the randomised stages with the trained one."""
    shuffled = options.random_scenes * len(options.random_at) * (STAGES + 1)
    return options.scenes * len(options.at) + shuffled


def _observe(
    pipeline: Any,
    spec: ModelSpec,
    scorer: Scorer,
    known: Sequence[KnownScene],
    start: int,
    at: Sequence[int],
    masks: int,
    explain: Callable[[TrustObserver, StepView], None] | None = None,
) -> TrustObserver:
    """One pipeline run over a batch of scenes' captions, explained on the scenes themselves."""
    prompts = tuple(scene_prompt(one.scene, start + i) for i, one in enumerate(known))
    total = count_calls(pipeline.scheduler, spec.steps, {})
    family = models.family_of(pipeline)
    batch = Batch(prompts, 0, pipeline, family, scorer, total, guided=True)
    clean = encode(pipeline, torch.stack([one.image for one in known]))
    observer = TrustObserver(batch, clean, at, masks, explain)
    with Watch(batch, [observer]):
        generate(pipeline, spec, prompts, 0, {"num_inference_steps": spec.steps})
    return observer


def _localisation_rows(
    name: str, known: Sequence[KnownScene], start: int, maps: Mapping[int, list[Maps]]
) -> list[dict[str, Any]]:
    rows = []
    for step, items in maps.items():
        for place, (one, found) in enumerate(zip(known, items, strict=True)):
            masks = targets(one)
            for (method, word), values in found.items():
                if word in masks:
                    rows.append(
                        {
                            "model": name,
                            "scene": start + place,
                            "step": step,
                            "method": method,
                            "word": word,
                            **localise(enlarge(values, masks[word].shape), masks[word]).__dict__,
                        }
                    )
    return rows


def enlarge(values: Float[np.ndarray, "h w"], size: tuple[int, ...]) -> Float[np.ndarray, "h2 w2"]:
    """A map on the picture's grid, bilinear."""
    return resize_map(torch.from_numpy(values)[None], (size[0], size[1]))[0].numpy()


def _randomisation_rows(
    pipeline: Any,
    spec: ModelSpec,
    scorer: Scorer,
    known: Sequence[KnownScene],
    options: TrustOptions,
) -> Iterator[dict[str, Any]]:
    """Similarity of each method's map to that of the trained model, as more layers are shuffled.

    The run up to the step is the trained model's; only the explained call is randomised.
    """
    rows: list[dict[str, Any]] = []
    module = models.denoiser_of(pipeline)

    def compare(observer: TrustObserver, view: StepView) -> None:
        trained = observer.explain(view)
        for label, layers, share in cascade(module, STAGES):
            with randomised(module, layers, seed=SEED):
                changed = replace(view.denoiser, prediction=view.denoiser.replay())
                found = observer.explain(
                    replace(view, denoiser=changed, prediction=changed.prediction)
                )
            rows.extend(_similarity_rows(spec.name, view.step, label, share, trained, found))

    _observe(pipeline, spec, scorer, known, 0, options.random_at, options.masks, compare)
    yield from rows


def _similarity_rows(
    name: str, step: int, label: str, share: float, trained: list[Maps], found: list[Maps]
) -> list[dict[str, Any]]:
    rows = []
    for method in sorted({method for method, _ in trained[0]}):
        pairs = [
            map_spearman(a[method, ""], b[method, ""]) for a, b in zip(trained, found, strict=True)
        ]
        values = [value for value in pairs if value is not None]
        rows.append(
            {
                "model": name,
                "method": method,
                "step": step,
                "layers": label,
                "share": share,
                "spearman": float(np.mean(values)) if values else None,
                "samples": len(values),
            }
        )
    return rows


LOCALISATION = pa.schema(
    [
        ("model", pa.string()),
        ("scene", pa.int32()),
        ("step", pa.int32()),
        ("method", pa.string()),
        ("word", pa.string()),
        *[(n, pa.float32()) for n in ("pointing", "iou", "average_precision", "mask_share")],
    ]
)
RANDOMISATION = pa.schema(
    [
        ("model", pa.string()),
        ("method", pa.string()),
        ("step", pa.int32()),
        ("layers", pa.string()),
        ("share", pa.float32()),
        ("spearman", pa.float32()),
        ("samples", pa.int32()),
    ]
)


def write_trust(
    folder: Path, localisation: list[dict[str, Any]], randomisation: list[dict[str, Any]]
) -> None:
    """Writes both tables where `publish` looks for them: DIR/extra/*.parquet."""
    extra = folder / "extra"
    extra.mkdir(parents=True, exist_ok=True)
    for name, rows, schema in (
        ("localisation", localisation, LOCALISATION),
        ("randomisation", randomisation, RANDOMISATION),
    ):
        partial = extra / f".{name}.parquet.tmp"
        pq.write_table(pa.Table.from_pylist(rows, schema), partial)
        partial.replace(extra / f"{name}.parquet")


def localisation_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Average precision over a random map's, per model and method, with intervals over scenes.

    A method's maps of words (attention, relevance) are compared with the named object's mask,
    all others with the mask of all objects; chance is the random map on the same masks.
    """
    steps = sorted({row["step"] for row in rows})
    head = [
        "model",
        "method",
        "map of",
        "average precision",
        "over chance, 95 %",
        "pointing",
        "IoU",
    ]
    head += [f"step {step}" for step in steps]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for model, method, words_ in _groups(rows):
        chosen = [r for r in rows if (r["model"], r["method"]) == (model, method)]
        chosen = [r for r in chosen if (r["word"] != "") == words_]
        gain = _scene_means(chosen, lambda r: r["average_precision"] - r["mask_share"])
        low, high = bootstrap(gain)
        mean = {
            k: np.mean([r[k] for r in chosen]) for k in ("average_precision", "pointing", "iou")
        }
        cells = [model, method, "word" if words_ else "all objects"]
        cells += [f"{mean['average_precision']:.2f}"]
        cells += [f"{np.mean(gain):+.2f} [{low:+.2f}, {high:+.2f}]"]
        cells += [f"{mean['pointing']:.2f}", f"{mean['iou']:.2f}"]
        for step in steps:
            at = [r["average_precision"] for r in chosen if r["step"] == step]
            cells.append(f"{np.mean(at):.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _groups(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, bool]]:
    return list(dict.fromkeys((r["model"], r["method"], r["word"] != "") for r in rows))


def _scene_means(
    rows: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], float]
) -> Float[np.ndarray, " scene"]:
    """Steps and words averaged within a scene: the scene is the unit."""
    scenes = sorted({row["scene"] for row in rows})
    return np.array([np.mean([value(r) for r in rows if r["scene"] == s]) for s in scenes])


def bootstrap(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """95 % percentile interval of the mean, B = 2000, fixed seed."""
    draws = np.random.default_rng(0).integers(len(values), size=(BOOTSTRAP, len(values)))
    low, high = np.percentile(values[draws].mean(1), [2.5, 97.5])
    return float(low), float(high)


def randomisation_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Spearman with the trained model's map, per model and method, as layers are shuffled."""
    lines = []
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        stages = list(dict.fromkeys((row["layers"], row["share"]) for row in own))
        head = ["model", "method", *[f"{label} ({share:.0%})" for label, share in stages]]
        lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for method in dict.fromkeys(row["method"] for row in own):
            cells = [model, method]
            for label, _ in stages:
                found = [
                    r["spearman"]
                    for r in own
                    if (r["method"], r["layers"]) == (method, label) and r["spearman"] is not None
                ]
                cells.append(f"{np.mean(found):+.2f}" if found else "constant map")
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines).rstrip()
