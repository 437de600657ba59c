"""The figures that can be made: what each shows, which choices it reads, and what it needs of a study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.figures import (
    baselines,
    causes,
    comparisons,
    concept_attention,
    concepts,
    images,
    information,
    maps,
    paper_auc,
    paths,
    similarities,
    tools,
    training,
    variants,
    words,
)
from app.figures.source import Figure, FigureStudy


@dataclass(frozen=True)
class Kind:
    """A figure that can be made.

    Attributes:
        name: on the command line and of its files.
        title: what it shows, in a few words.
        group: of the gallery.
        build: makes it from a study.
        needs: what a study must have, a key of `NEEDS`.
        columns: how many columns suit it.
        controls: fields of `Choice` that it reads beside the study's filters, in the order in which they are offered.
        one_model: whether it shows one model, which `baseline` names; else it compares others with the baseline.
        several: whether it shows several models, of which some can be chosen.
    """

    name: str
    title: str
    group: str
    build: Callable[[FigureStudy], Figure]
    needs: str
    columns: int = 1
    controls: tuple[str, ...] = ()
    one_model: bool = False
    several: bool = True


NEEDS = {
    "scores": "finished samples with a score",
    "concepts": "finished samples and a bank of concepts",
    "concepts-of-one": "finished samples of the model and a bank of concepts",
    "emergence": "concepts whose presence can be judged, in at least 19 prompts that do not name them",
    "two-scored": "two models with finished samples",
    "two-concepts": "two models with finished samples and a bank of concepts",
    "two-sampled": "two sampled models with a score",
    "training": "a training run of two checkpoints",
    "spectra": "power spectra: spectrum = true under [measures]",
    "paths": "embedding paths: embeddings = true under [measures]",
    "frames": "recorded frames: frames under [measures]",
    "maps": "saliency maps of the model: df-cam or df-rise under [measures]",
    "word-maps": "word maps of the model: attention with maps = true under [measures]",
    "roles": "word values and prompts with roles: attention or relevance under [measures]",
    "information": "information per word: [measures.information]",
    "games": "insertion and deletion: faithfulness under [measures]",
    "two-baselines": "insertion and deletion under two baselines of the model",
    "agreement": "agreement of maps: agreement = true under [measures]",
    "concept-attention": "ConceptAttention of named concepts: [measures.concept-attention]",
    "switches": "prompt switches: [measures.switch]",
    "localisation": "localisation against known masks: python -m pipeline demo trust",
    "lime": "insertion and deletion of LIME and of another tool",
    "rise-games": "DF-RISE maps of the model with insertion and deletion",
    "schedules": "one model under two timestep schedules",
    "rise": "DF-RISE maps of the model: df-rise under [measures]",
    "cam": "DF-CAM maps of the model: df-cam under [measures]",
    "peaks": "word values and word maps of the model, of one source",
    "gammas": "one exponential schedule with two gammas",
    "words-by-schedule": "word values of one prompt under two timestep schedules",
}
"""What a figure needs of a study, in a few words."""

STUDY, IMAGES, TOOLS, PAPER = (
    "Concepts and models",
    "Images and words",
    "Tools and trust",
    "Park et al. 2024",
)
RISE = "df-rise = { steps = [5, 10, 15, 20], prompts = 8 }"
CAM = "df-cam = { steps = [5, 10, 15, 20], prompts = 8 }"
COMPARED = ("axis", "pairs")
STRIP = ("prompts", "steps", "rows", "layout")
MAPS = (*STRIP, "scale", "bar")


def _of_one(name: str, title: str, group: str, build: Callable[[FigureStudy], Figure], needs: str, controls: tuple[str, ...]) -> Kind:  # fmt: skip
    """A figure of one model."""
    chosen = ("baseline", *controls)
    return Kind(name, title, group, build, needs, 1, chosen, one_model=True, several=False)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("scores", "CLIP scores with tied ranks", STUDY, comparisons.scores_table, "scores"),
        Kind("concept-curves", "Concept curves", STUDY, concepts.concept_curves, "concepts", 1, ("concepts", "rows", *COMPARED)),
        _of_one("concept-heat-map", "Concept x step heat map", STUDY, concepts.concept_heatmap, "concepts-of-one", ("concepts", "rows", *COMPARED)),
        Kind("emergence", "Emergence ranking", STUDY, concepts.emergence, "emergence", 1, ("concepts", *COMPARED)),
        Kind("paired-differences", "Paired differences", STUDY, comparisons.paired_differences, "two-scored", 1, ("baseline", *COMPARED)),
        Kind("difference-heat-map", "Where two models differ", STUDY, comparisons.difference_heatmap, "two-concepts", 1, ("baseline", "rows", *COMPARED)),
        Kind("variants", "Speed, memory and quality", STUDY, variants.variant_costs, "two-sampled", 1, ("distance", "threshold", "axis")),
        Kind("training", "Checkpoints of a training run", STUDY, training.checkpoints, "training", 2),
        Kind("spectra", "Power spectra", STUDY, paths.spectra, "spectra", 2, ("steps", "rows")),
        Kind("paths", "Embedding paths", STUDY, paths.paths, "paths"),
        Kind("film-strip", "Film strip", IMAGES, images.film_strip, "frames", 2, STRIP),
        _of_one("region-maps", "Region maps", IMAGES, maps.region_maps, "maps", ("methods", *MAPS)),
        _of_one("word-heat-maps", "Word heat maps", IMAGES, maps.word_heat_maps, "word-maps", ("source", *MAPS)),
        Kind("word-roles", "Role curves under schedules", IMAGES, words.word_roles, "roles", 2, ("source", "rows")),
        Kind("information", "Information of words by role", IMAGES, information.information, "information", 2, ("rows",)),
        Kind("auc-table", "Areas under insertion and deletion", TOOLS, tools.auc_table, "games", 2, ("methods", "score")),
        Kind("auc-curves", "Insertion and deletion curves", TOOLS, tools.auc_curves, "games", 2, ("methods", "score", "rows")),
        Kind("baselines", "Ranking of tools by baseline", TOOLS, baselines.rankings, "two-baselines", 2, ("baseline", "methods", "score"), one_model=True, several=False),
        Kind("agreement", "Agreement of the tools", TOOLS, tools.agreement, "agreement", 2, ("rows",)),
        Kind("concept-attention", "Named concepts", TOOLS, concept_attention.named_concepts, "concept-attention", 2, ("rows",)),
        Kind("causes", "Visible and decided", TOOLS, causes.causes, "switches", 1, ("axis",)),
        Kind("trust", "Which tool to believe", TOOLS, tools.trust, "localisation", 1, ("methods",)),
        Kind("paper-auc", "AUC table of mean curves", PAPER, paper_auc.auc_of_mean_curves, "games", 2, ("methods", "score", "rows")),
        Kind("paper-3", "Figure 3: tools against LIME", PAPER, tools.against_lime, "lime", 2, ("methods", "score", "rows")),
        _of_one("paper-5", "Figure 5: DF-RISE by similarity", PAPER, similarities.similarities, "rise-games", ("prompts", "steps")),
        Kind("paper-6", "Figure 6: images by schedule", PAPER, images.schedule_images, "schedules", 1, ("prompts", "rows")),
        _of_one("paper-7", "Figure 7: DF-RISE over steps", PAPER, maps.over_steps("df-rise", RISE), "rise", ("source", *MAPS)),
        _of_one("paper-8", "Figure 8: DF-CAM over steps", PAPER, maps.over_steps("df-cam", CAM), "cam", ("source", *MAPS)),
        _of_one("paper-9", "Figure 9: relevance peaks", PAPER, words.relevance_peaks, "peaks", ("source", "prompts", "rows")),
        Kind("paper-10", "Figure 10: gamma varied", PAPER, images.gammas, "gammas", 1, ("prompts", "rows")),
        Kind("paper-11", "Figure 11: words by schedule", PAPER, words.words_by_schedule, "words-by-schedule", 2, ("source", "prompts", "rows")),
    )
}  # fmt: skip
