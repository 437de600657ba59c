"""Watches a batch and explains its steps: maps of every tool, their faithfulness and agreement."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from pipeline.attention import attention_layers, text_layers
from pipeline.explain.baseline import inverse, random_baseline
from pipeline.explain.cam import cam_layers, choose_layers, df_cam, patch_size_of
from pipeline.explain.lime import LimeOptions, lime_weights
from pipeline.explain.maps import map_record, resize_map, scale_map
from pipeline.explain.relevance import token_relevance, word_scores
from pipeline.explain.rise import RiseOptions, park2024, rise_scores
from pipeline.explain.words import AttentionObserver, PromptWords, items_of, map_steps
from pipeline.faithfulness import (
    GAMES,
    Curve,
    distance_score,
    embedding_score,
    game_curves,
    next_step,
    structure_score,
)
from pipeline.localisation import map_spearman, top_iou
from pipeline.observe import Batch, StepView
from pipeline.similarity import similarity_to
from pipeline.study import Measures, ToolSpec

MAP_TOOLS = ("df-rise", "df-cam", "lime")
BATCH_ELEMENTS = 2**16
"""Latent elements up to which a whole batch is differentiated at once; item by item beyond."""

Maps = dict[str, Tensor]


class Explainer:
    """The maps of one step, each computed when it is first asked for.

    Args:
        view: the step.
        measures: the options of the tools.
        attention: whose latest maps stand for the method "attention".
        words: of the batch.
    """

    def __init__(
        self,
        view: StepView,
        measures: Measures,
        words: PromptWords,
        attention: AttentionObserver | None = None,
        latents: Tensor | None = None,
    ) -> None:
        self.view, self.measures, self.words, self.attention = view, measures, words, attention
        self.denoiser = view.denoiser
        self.latents = view.latents if latents is None else latents
        self.size = (int(self.latents.shape[-2]), int(self.latents.shape[-1]))
        self._whole: dict[str, dict[int, Tensor]] = {}

    def map(self, method: str, item: int) -> Tensor | None:
        """A method's map of an item, unscaled; None where the method has none."""
        cache = self._whole.setdefault(method, {})
        if item not in cache:
            found = self._compute(method, item)
            if found is None:
                return None
            cache[item] = found
        return cache[item]

    def made(self, item: int) -> Maps:
        """The maps of an item made so far, by method."""
        return {name: maps[item] for name, maps in self._whole.items() if item in maps}

    def _compute(self, method: str, item: int) -> Tensor | None:
        if method == "df-rise":
            return self.rise(item)
        if method == "lime":
            return self.lime(item)
        if method == "random":
            seed = self.view.batch.seed
            position = self.view.batch.prompts[item].position
            return random_baseline(*self.size, seed, self.view.step, position)
        if method == "attention":
            return None if self.attention is None else self.attention.prompt_map(item)
        if method == "relevance":
            maps, _, present = self.relevance(item)
            return maps[present].mean(0) if present else None
        if method == "df-cam":
            return self.cam(item)
        raise ValueError(f"method {method!r} is not known")

    def rise(self, item: int) -> Tensor:
        """DF-RISE under the study's options."""
        options = rise_options(self.measures)
        if options.similarity == "fid":
            return self._rise_fid(item, options)
        target = self.view.next_latents[item] if options.against_next else None
        return rise_scores(self._predict(item, options.chunk), self.latents[item], options, target)

    def _rise_fid(self, item: int, options: RiseOptions) -> Tensor:
        """Between decoded pictures: of the next step under the paper's protocol, else of x0."""
        if options.against_next:
            outcome, reference = self._following(item), self.view.next_latents[item]
        else:
            outcome, reference = self._clean(item), self._clean(item)(self.latents[item][None])[0]
        score = similarity_to(reference, "fid", self._embed)
        return rise_scores(outcome, self.latents[item], options, reference, score)

    def lime(self, item: int) -> Tensor:
        """LIME under the study's options."""
        options = lime_options(self.measures)
        return lime_weights(self._predict(item, options.chunk), self.latents[item], options)

    def cam(self, item: int) -> Tensor:
        """DF-CAM; computed for the whole batch at once where that is small."""
        module = self.denoiser.module
        spec = self.measures.df_cam
        wanted = spec.options.get("layers", ()) if spec else ()
        layers = choose_layers(cam_layers(module), tuple(wanted))  # type: ignore[arg-type]
        for items in self._together(item):
            maps = df_cam(
                self._forward(items),
                module,
                self.size,
                self.denoiser.halves,
                self.denoiser.guidance_scale,
                layers,
                patch_size_of(module, self.latents.shape[1]),
            )
            self._whole.setdefault("df-cam", {}).update(zip(items, maps, strict=True))
        return self._whole["df-cam"][item]

    def relevance(self, item: int) -> tuple[Tensor, Tensor, list[int]]:
        """(map per word, raw score per word, words present) of an item."""
        cache = self._whole.setdefault("token relevance", {})
        if item not in cache:
            for items in self._together(item):
                tokens = token_relevance(
                    self._forward(items),
                    attention_layers(self.denoiser.module),
                    self.size,
                    self.denoiser.halves,
                )
                cache.update(zip(items, tokens, strict=True))
        length = cache[item].shape[0]
        average = self.words.average([item], length)[0, :, :-2].to(cache[item])
        maps = torch.einsum("thw,tk->khw", cache[item], average)
        present = self.words.present(item, length)
        return maps, maps.sum((1, 2)), present

    def _together(self, item: int) -> list[list[int]]:
        everything = list(range(self.latents.shape[0]))
        return [everything] if self.latents.numel() <= BATCH_ELEMENTS else [[item]]

    def _forward(self, items: list[int]) -> Callable[[], Tensor]:
        """The guided prediction of the batch or of one item, with gradients."""
        denoiser = self.denoiser

        def forward() -> Tensor:
            if len(items) == denoiser.batch:
                given = self.latents.detach().requires_grad_(True)
                return denoiser.guide(*denoiser.halves_of_batch(given))
            given = self.latents[items].detach().requires_grad_(True)
            return denoiser.guide(*denoiser.halves_of(given, items[0]))

        return forward

    def _predict(self, item: int, chunk: int | None = None) -> Callable[[Tensor], Tensor]:
        denoiser = self.denoiser
        if chunk is not None:
            denoiser = replace(denoiser, chunk=chunk * denoiser.halves)
        return lambda latents: denoiser(latents, item)

    def _clean(self, item: int) -> Callable[[Tensor], Tensor]:
        predict = self._predict(item)
        return lambda latents: self.denoiser.denoised(latents, predict(latents))

    def _following(self, item: int) -> Callable[[Tensor], Tensor]:
        view = self.view
        step = next_step(view.latents, view.denoised, view.next_latents)
        clean = self._clean(item)
        return lambda latents: step(latents, clean(latents), item)

    def _embed(self, latents: Tensor) -> Tensor:
        batch = self.view.batch
        return batch.scorer.images(batch.decode(latents))

    def games(
        self, item: int, saliency: Tensor, games: Sequence[str], scores: Sequence[str]
    ) -> dict[tuple[str, str], Curve]:
        """Curves of one map by (game, score)."""
        saliency = resize_map(saliency, self.size)
        curves: dict[tuple[str, str], Curve] = {}
        for outcome, functions in self._outcomes(item, tuple(scores)):
            for game in games:
                found = game_curves(outcome, self.latents[item], saliency, game, functions)
                curves |= {(game, score): curve for score, curve in found.items()}
        return curves

    def _outcomes(
        self, item: int, scores: tuple[str, ...]
    ) -> list[tuple[Callable[[Tensor], Tensor], dict[str, Callable[[Tensor], Tensor]]]]:
        """What is scored, and how: x0 by CLIP and structure, the next step's picture by distance."""
        cache: dict[tuple, Any] = self.__dict__.setdefault("_outcome_cache", {})
        if (item, scores) not in cache:
            reference = self.view.denoised[item]
            functions: dict[str, Callable[[Tensor], Tensor]] = {}
            if "clip" in scores:
                functions["clip"] = embedding_score(self._embed, reference)
            if "structure" in scores:
                functions["structure"] = structure_score(reference)
            found = [(self._clean(item), functions)] if functions else []
            if "fid" in scores:
                distance = distance_score(self._embed, self.view.next_latents[item])
                found.append((self._following(item), {"fid": distance}))
            cache[item, scores] = found
        return cache[item, scores]


class ExplanationObserver:
    """Runs the tools at the steps a study asks for, and keeps their maps, curves and agreement."""

    def __init__(
        self, measures: Measures, batch: Batch, attention: AttentionObserver | None = None
    ) -> None:
        self.measures, self.batch, self.attention = measures, batch, attention
        self.words = attention.words if attention else PromptWords(batch)
        items = range(len(batch.prompts))
        self._columns: list[dict[str, list]] = [
            {"explanations": [], "faithfulness": [], "agreement": []} for _ in items
        ]
        self._relevance: list[list[tuple[int, Tensor, Tensor, list[int]]]] = [[] for _ in items]
        self._words_known = bool(text_layers_of(batch))

    def on_step(self, view: StepView) -> None:
        """Explain this step, if any tool asks for it."""
        with self.attention.paused() if self.attention else nullcontext():
            explainer = Explainer(view, self.measures, self.words, self.attention)
            for item in range(len(self.batch.prompts)):
                self._maps(explainer, item)
                self._word_relevance(explainer, item)
                self._faithfulness(explainer, item)
                if self.measures.agreement:
                    self._agreement(explainer, item)

    def columns(self, item: int) -> dict[str, Any]:
        """`explanations`, `faithfulness`, `agreement` and the relevance rows of `words`."""
        return {**self._columns[item], "words": self._relevance_rows(item)}

    def _due(self, spec: ToolSpec | None, step: int, item: int) -> bool:
        return (
            spec is not None
            and step in spec.at(self.batch.total_steps)
            and item in items_of(self.batch, spec)
        )

    def _maps(self, explainer: Explainer, item: int) -> None:
        tools = self.measures.tools()
        step = explainer.view.step
        for method in MAP_TOOLS:
            if self._due(tools.get(method), step, item):
                found = explainer.map(method, item)
                assert found is not None
                self._columns[item]["explanations"].append(map_record(step, method, "", found))

    def _word_relevance(self, explainer: Explainer, item: int) -> None:
        spec, step = self.measures.relevance, explainer.view.step
        if spec is None or not self._words_known or not self._due(spec, step, item):
            return
        maps, _, present = explainer.relevance(item)
        raw, scaled = word_scores(maps, [index in present for index in range(len(maps))])
        self._relevance[item].append((step, raw.cpu(), scaled.cpu(), present))
        explainer.map("relevance", item)
        if step in map_steps(spec, self.batch.total_steps):
            kept = self._columns[item]["explanations"]
            for index in present:
                word = self.words.labels[item][index]
                kept.append(map_record(step, "relevance", word, maps[index]))
            if present:
                kept.append(map_record(step, "relevance", "", maps[present].mean(0)))

    def _relevance_rows(self, item: int) -> list[dict[str, Any]]:
        seen = self._relevance[item]
        if not seen:
            return []
        return [
            {
                "word_index": index,
                "word": self.words.words[item][index],
                "role": self.words.roles[item][index],
                "source": "relevance",
                "layer_group": "all",
                "steps": [step for step, *_ in seen],
                "mass": [float(raw[index]) for _, raw, _, _ in seen],
                "scaled": [float(scaled[index]) for _, _, scaled, _ in seen],
                "entropy": None,
            }
            for index in seen[0][3]
        ]

    def _faithfulness(self, explainer: Explainer, item: int) -> None:
        spec, step = self.measures.faithfulness, explainer.view.step
        if spec is None or not self._due(spec, step, item):
            return
        games, scores = game_options(self.measures)
        chance = random_baseline(
            *explainer.size,
            int(spec.options.get("seed", 0)) + self.batch.seed,  # type: ignore[arg-type]
            step,
            self.batch.prompts[item].position,
        )
        random_curves = explainer.games(item, chance, games, scores)
        for method in methods_of(self.measures, self._words_known):
            saliency = explainer.map(method, item)
            if saliency is None:
                continue
            curves = explainer.games(item, saliency, games, scores)
            turned = explainer.games(item, inverse(saliency), games, scores)
            self._columns[item]["faithfulness"] += [
                {
                    "step": step,
                    "method": method,
                    "game": game,
                    "score": score,
                    "curve": curve.points.numpy(),
                    "auc": curve.area,
                    "auc_scaled": curve.scaled,
                    "auc_random": random_curves[game, score].area,
                    "auc_inverse": turned[game, score].area,
                }
                for (game, score), curve in curves.items()
            ]

    def _agreement(self, explainer: Explainer, item: int) -> None:
        if self.attention is not None:
            explainer.map("attention", item)
        made = {
            name: scale_map(resize_map(values.float(), explainer.size)).cpu().numpy()
            for name, values in explainer.made(item).items()
            if values.ndim == 2 and name != "random"
        }
        self._columns[item]["agreement"] += [
            {
                "step": explainer.view.step,
                "method_a": a,
                "method_b": b,
                "spearman": map_spearman(made[a], made[b]),
                "iou": top_iou(made[a], made[b]),
            }
            for a, b in combinations(sorted(made), 2)
        ]


def text_layers_of(batch: Batch) -> list:
    """The layers that attend to words; none where the family has none."""
    if batch.family.attention == "none":
        return []
    from pipeline.models import denoiser_of

    return text_layers(denoiser_of(batch.pipeline))


def methods_of(measures: Measures, words_known: bool) -> list[str]:
    """The methods whose maps are put to the test: those named, or every tool of the study."""
    spec = measures.faithfulness
    named = tuple(spec.options.get("methods", ())) if spec else ()  # type: ignore[arg-type]
    order = ("df-rise", "df-cam", "lime", "attention", "relevance")
    methods = named or [name for name in order if name in measures.tools()]
    return [m for m in methods if words_known or m not in ("attention", "relevance")]


def game_options(measures: Measures) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(games, scores) of a study; the paper's protocol scores by distance at batch 1."""
    options = measures.faithfulness.options if measures.faithfulness else {}
    ours = ("clip", "structure")
    default = ("fid",) if measures.protocol == "park2024" else ours
    games, scores = options.get("games", GAMES), options.get("scores", default)
    return tuple(games), tuple(scores)  # type: ignore[arg-type]


def rise_options(measures: Measures) -> RiseOptions:
    """DF-RISE's options of a study under its protocol."""
    options = _options(RiseOptions, measures.df_rise)
    return park2024(options) if measures.protocol == "park2024" else options


def lime_options(measures: Measures) -> LimeOptions:
    """LIME's options of a study."""
    return _options(LimeOptions, measures.lime)


def _options(kind: Any, spec: ToolSpec | None) -> Any:
    known = {field.name for field in fields(kind)}
    given = spec.options if spec else {}
    return kind(**{name: value for name, value in given.items() if name in known})
