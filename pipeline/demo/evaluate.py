"""Measures the demo's models on scenes that no training saw, and writes the table of the README."""

import math
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from diffusers import DiffusionPipeline
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import CLIPTokenizer

from pipeline.demo.autoencoder import reconstruction_psnr
from pipeline.demo.clip import concept_targets, embed_images, embed_texts
from pipeline.demo.corpus import Corpus, compose_corpus
from pipeline.demo.judge import Judge, load_judge, verdict
from pipeline.demo.phrases import concepts_of, relation_phrases
from pipeline.demo.scenes import CATEGORIES, RELATIONS, Scene, caption
from pipeline.tables import markdown_table

SEED = 90_001
STEPS = 30
GUIDANCE = {"scenes-unet": 4.0, "scenes-unet-short": 4.0, "scenes-dit": 4.0}
NO_T5 = dict.fromkeys(("text_encoder_3", "tokenizer_3", "image_encoder", "feature_extractor"))
START, END = "<!-- evaluation: start -->", "<!-- evaluation: end -->"

BARS = {
    ("autoencoder", "PSNR"): 27.0,
    ("scenes-clip", "object"): 0.97,
    ("scenes-clip", "colour"): 0.97,
    ("scenes-clip", "texture"): 0.95,
    ("scenes-clip", "relation"): 0.85,
    ("scenes-judge", "background colour"): 0.97,
    ("scenes-judge", "one object"): 0.97,
    ("scenes-judge", "both objects"): 0.97,
    ("scenes-unet", "one object"): 0.90,
    ("scenes-unet", "background colour"): 0.95,
    ("scenes-unet", "background texture"): 0.85,
    ("scenes-unet", "both objects"): 0.75,
    ("scenes-unet", "relation"): 0.65,
}
DIT_ALLOWANCE = 0.15
_QUESTIONS = {
    "one": "one object",
    "size": "size",
    "both": "both objects",
    "relation": "relation",
    "colour": "background colour",
    "texture": "background texture",
    "count": "count",
}


@dataclass(frozen=True)
class Rate:
    """How often something was right."""

    model: str
    question: str
    scenes: str
    right: int
    n: int

    @property
    def share(self) -> float:
        """The share that was right."""
        return self.right / self.n

    def interval(self, z: float = 1.96) -> tuple[float, float]:
        """The Wilson interval, by default of 95 % (Wilson 1927)."""
        centre = (self.share + z * z / (2 * self.n)) / (1 + z * z / self.n)
        spread = self.share * (1 - self.share) / self.n + z * z / (4 * self.n**2)
        half = z / (1 + z * z / self.n) * math.sqrt(spread)
        return max(0.0, centre - half), min(1.0, centre + half)

    @property
    def bar(self) -> float | None:
        """The share that was asked for, if one was; None for held-out scenes."""
        if self.scenes.startswith("held-out"):
            return None
        if self.model == "scenes-dit":
            unet = BARS.get(("scenes-unet", self.question))
            return None if unet is None else unet - DIT_ALLOWANCE
        return BARS.get((self.model, self.question))


def rate(model: str, question: str, scenes: str, right: Bool[Tensor, " n"]) -> Rate:
    """Counts answers."""
    return Rate(model, question, scenes, int(right.sum()), right.numel())


def clip_rates(
    clip: open_clip.CLIP, tokenizer: CLIPTokenizer, corpus: Corpus, group: str = "real"
) -> list[Rate]:
    """Zero-shot accuracy on real scenes: each family's own phrases, and the four relations.

    Of a pair, both objects must be the two most similar of all 24.
    """
    images = embed_images(clip, corpus.pixels(torch.arange(len(corpus.scenes))))
    rates = []
    for family in ("object", "colour", "texture", "size", "count"):
        phrases = [concept.phrasings[0] for concept in concepts_of(family)]
        similarity = images @ embed_texts(clip, tokenizer, phrases).T
        targets = concept_targets(corpus.scenes, family)
        asked = targets.any(1)
        if not asked.any():
            continue
        right = _top_are_true(similarity[asked], targets[asked])
        rates.append(rate("scenes-clip", family, group, right))
    return [*rates, rate("scenes-clip", "relation", group, _relation(clip, tokenizer, corpus))]


def _top_are_true(
    similarity: Float[Tensor, "n concept"], targets: Bool[Tensor, "n concept"]
) -> Bool[Tensor, " n"]:
    lowest_true = similarity.masked_fill(~targets, math.inf).amin(1)
    highest_false = similarity.masked_fill(targets, -math.inf).amax(1)
    return lowest_true > highest_false


@torch.no_grad()
def _relation(
    clip: open_clip.CLIP, tokenizer: CLIPTokenizer, corpus: Corpus
) -> Bool[Tensor, " pair"]:
    pairs = [index for index, scene in enumerate(corpus.scenes) if scene.relation]
    scenes = [corpus.scenes[index] for index in pairs]
    phrases = [phrase for scene in scenes for phrase in relation_phrases(scene)]
    texts = embed_texts(clip, tokenizer, phrases).view(len(pairs), len(RELATIONS), -1)
    images = embed_images(clip, corpus.pixels(torch.tensor(pairs)))
    chosen = (texts @ images[:, :, None]).squeeze(2).argmax(1)
    return chosen == torch.tensor([RELATIONS.index(scene.relation or "") for scene in scenes])


def judge_rates(
    judge: Judge,
    model: str,
    images: Float[Tensor, "n 3 h w"],
    scenes: list[Scene],
    group: str,
) -> list[Rate]:
    """How often the judge finds in pictures (in [-1, 1]) what their scenes say."""
    marks = verdict(judge, images, scenes)
    return [
        rate(model, name, group, marks.right[question][marks.asked[question]])
        for question, name in _QUESTIONS.items()
        if marks.asked[question].any()
    ]


def load_pipeline(folder: Path) -> DiffusionPipeline:
    """A demo pipeline in float32; a Stable Diffusion 3 folder without T5 needs its gaps named."""
    absent = NO_T5 if (folder / "transformer").is_dir() else {}
    pipeline = DiffusionPipeline.from_pretrained(folder, **absent)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def sample(
    pipeline: DiffusionPipeline,
    prompts: list[str],
    *,
    guidance: float,
    steps: int = STEPS,
    seed: int = 0,
    batch_size: int = 32,
) -> Float[Tensor, "n 3 h w"]:
    """Samples each prompt once, in [-1, 1], with a generator of its own."""
    options = {"max_sequence_length": 1} if hasattr(pipeline, "transformer") else {}
    images = []
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        positions = range(start, start + len(batch))
        generators = [torch.Generator().manual_seed(seed + position) for position in positions]
        images.append(
            pipeline(
                batch,
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=generators,
                output_type="pt",
                **options,
            ).images
        )
    return torch.cat(images).float() * 2 - 1


def pipeline_rates(folder: Path, judge: Judge, count: int, steps: int = STEPS) -> list[Rate]:
    """Marks one text-to-image model: `count` prompts for each category of scenes."""
    pipeline = load_pipeline(folder)
    rates = []
    trained = [scene for name in CATEGORIES[:2] for scene in _scenes(name, count)]
    groups = {"trained": trained} | {name: _scenes(name, count) for name in CATEGORIES[2:]}
    for group, scenes in groups.items():
        prompts = [caption(scene) for scene in scenes]
        guidance = GUIDANCE[folder.name]
        images = sample(pipeline, prompts, guidance=guidance, steps=steps, seed=SEED)
        rates += judge_rates(judge, folder.name, images, scenes, group)
    return rates


def _scenes(name: str, count: int) -> list[Scene]:
    seed = SEED + CATEGORIES.index(name)
    return compose_corpus(count, seed, categories=(name,)).scenes


def reference_rates(models: Path, judge: Judge, count: int) -> tuple[list[Rate], tuple[float, int]]:
    """On real scenes: the rates of scenes-clip and the judge, the autoencoder's mean PSNR and n."""
    corpus = compose_corpus(count, SEED, pair_share=0.5)
    name = f"local-dir:{models / 'scenes-clip'}"
    clip = open_clip.create_model_and_transforms(name)[0].eval()
    tokenizer = CLIPTokenizer.from_pretrained(models / "scenes-clip")
    groups = {"real": corpus} | {
        f"real, {name}": compose_corpus(count, SEED, categories=(name,)) for name in CATEGORIES[2:]
    }
    rates = [rate for name, of in groups.items() for rate in clip_rates(clip, tokenizer, of, name)]
    for name, of in groups.items():
        pixels = of.pixels(torch.arange(count))
        rates += judge_rates(judge, "scenes-judge", pixels, of.scenes, name)
    autoencoder = load_pipeline(models / "scenes-unet").vae
    return rates, (reconstruction_psnr(autoencoder, corpus).mean().item(), count)


def evaluate(
    models: Path,
    *,
    prompts: int = 200,
    scenes: int = 1000,
    steps: int = STEPS,
    generators: tuple[str, ...] = tuple(GUIDANCE),
) -> str:
    """Measures every model and returns the table in Markdown.

    Args:
        models: the folder with the model folders.
        prompts: sampled for each category and text-to-image model.
        scenes: composed for the models that read pictures.
        steps: of sampling.
        generators: the text-to-image models that are sampled.
    """
    judge = load_judge(models / "scenes-judge")
    rates, (psnr, n) = reference_rates(models, judge, scenes)
    for name in generators:
        rates += pipeline_rates(models / name, judge, prompts, steps)
    bar = BARS["autoencoder", "PSNR"]
    reached = "yes" if psnr >= bar else "no"
    first = ["autoencoder", "PSNR", "real", f"{psnr:.1f} dB", "", n, f"{bar:.0f} dB", reached]
    head = ["model", "question", "scenes", "right", "95 % interval", "n", "asked for", "reached"]
    return markdown_table(head, [first, *map(rate_cells, rates)])


def rate_cells(rate: Rate) -> list[object]:
    """The cells of a rate in the table."""
    low, high = rate.interval()
    asked, reached = "", ""
    if rate.bar is not None:
        asked, reached = f"{rate.bar:.0%}", "yes" if rate.share >= rate.bar else "no"
    return [
        rate.model,
        rate.question,
        rate.scenes,
        f"{rate.share:.1%}",
        f"{low:.1%} to {high:.1%}",
        rate.n,
        asked,
        reached,
    ]


def rows_of_generators(readme: Path) -> list[str]:
    """The lines of the README's table that are about text-to-image models."""
    names = tuple(f"| {name} |" for name in GUIDANCE)
    table = readme.read_text().partition(START)[2].partition(END)[0]
    return [line for line in table.splitlines() if line.startswith(names)]


def write_table(readme: Path, table: str) -> None:
    """Replaces what stands between the README's two evaluation markers.

    Raises:
        ValueError: if a marker is missing.
    """
    text = readme.read_text()
    if START not in text or END not in text:
        raise ValueError(f"{readme} has no place for the table; add the lines {START} and {END}.")
    before, after = text.split(START)[0], text.split(END)[1]
    readme.write_text(f"{before}{START}\n{table}\n{END}{after}")
