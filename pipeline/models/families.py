"""What differs between architectures, in one table: FAMILIES.

A family says which module denoises, how guidance is applied, where attention to words is and which text positions are
which words, which layers DF-CAM looks at, and how latents become a picture. Everything else is read from the pipeline
itself. A class that is not in the table still gets what needs only its scheduler and its decoder. docs/families.md shows
how to add one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from pipeline.models.text_streams import glyph_layout, streams_layout
from pipeline.models.words import (
    chat_layout,
    cleaned_layout,
    clip_layout,
    instructed_layout,
    left_padded_layout,
    lower_layout,
    pieces_layout,
    processor_layout,
    registers_layout,
    sana_layout,
    sd3_layout,
    suffixed_layout,
    system_layout,
    window_layout,
)

Layout = Callable[[Any, str, int], Int[np.ndarray, " token"]]
"""(pipeline, prompt, number of text keys) -> the word index of each text key, -1 for none."""

UNET_LAYERS = (
    r"(down_blocks\.\d+|mid_block|up_blocks\.\d+)"
    r"\.(resnets|attentions|downsamplers|upsamplers)\.\d+"
)
BLOCKS = (
    r"(transformer_blocks|single_transformer_blocks|joint_transformer_blocks|blocks|layers)\.\d+"
)
STREAMS = r"(double_stream_blocks|single_stream_blocks)\.\d+"
REPLAYED = ("relevance", "df-cam", "df-rise", "lime", "faithfulness", "information")
"""The measures that call the denoiser again and so must know how the pipeline guides it."""
WORDED = ("attention", "relevance", "concept-attention")
"""The measures that look at where the image attends to text."""
MOVES = "the positions of its image follow the length of its text, so that more text would change what it computes"
ONE_ENCODER = ("unet", "unet-lcm", "unet-pag")
"""Families whose denoiser attends to what one CLIP text encoder gives, and to nothing else."""


@dataclass(frozen=True)
class Family:
    """What the tools need to know of an architecture.

    Attributes:
        name: stored in the `model` table.
        pipelines: the diffusers classes that are of this family.
        denoiser: the pipeline's attribute that predicts noise.
        attention: "cross" (image queries over text keys), "joint" (one softmax over both) or "none".
        no_words: why attention to words is not available, where `attention` is "none".
        no_relevance: why relevance is not available although attention is.
        no_concepts: why ConceptAttention is not available although attention is.
        layout: which text keys are which words; None without words.
        tokenizer: the attribute whose window cuts a prompt; the first that the pipeline has.
        cam: a pattern of the layers that DF-CAM looks at.
        ragged: in a batch, each item's image follows its own text at once.
        image_first: the image stands before the text in a joint sequence, and in what a joint block returns.
        guidance: "halves" (unconditional items first, both in one call), "swapped" (conditional items first), "apart" (two
            calls, the conditional one first), "perturbed" (unconditional items, where guidance is on, conditional ones, and these
            once more with perturbed attention), "embedded" (a number that the denoiser is given) or "none".
        guided: the name of the guidance scale; what the pipeline's call takes.
        neutral: the negative prompt in place of none, where the pipeline guides only with one.
        beyond: the guided prediction is counted from the conditional one, c + scale (c - u).
        keeps_norm: it has the conditional one's norm over the last axis of the denoiser's output.
        negated: the scheduler is given the negative of it.
        trigflow: latents are on a circle whose angle is the timestep (sCM), around a denoiser of a flow.
        solo: prompts are padded to the longest of a batch and the image, or the scale of relevance, follows the padding; one guider
            is chosen for a whole batch; or the pipeline's call takes one prompt. So each prompt is sampled alone.
        takes: what conditions an image: a "prompt", a "label" (one of a fixed list), or "nothing".
        no_negative: why a negative prompt cannot be used although the call takes one.
        stage: the sub-pipeline that runs the denoising loop, where the class only combines others.
        decoder: the attribute that makes pictures of latents; "" where they are pixels.
        quantizes: the decoder is to leave its codebook out, and knows no scale.
        shifted: the pipeline adds the decoder's `shift_factor`; others leave it out even where the decoder has one.
        normalised: the pipeline applies the decoder's `latents_mean` and `latents_std` where it has them.
        frames: the decoder is that of a video model, and is given one frame.
        squares: the decoder's batch norm has a mean and a deviation of each channel of a token.
        upcasts: the pipeline decodes in float32 where the decoder asks for it.
        packed: side of the square of latents that the pipeline packs into one token; 1 = latents are "c h w".
        output: the kind of images that the pipeline gives in [0, 1].
        bins: sample sizes for which the pipeline knows a list of resolutions.
        scales: the pipeline scales noise and inputs as sigma-space schedulers need it.
        known: whether the class is in the table.
    """

    name: str
    pipelines: tuple[str, ...]
    denoiser: str
    attention: Literal["cross", "joint", "none"]
    no_words: str = ""
    no_relevance: str = ""
    no_concepts: str = ""
    layout: Layout | None = None
    tokenizer: tuple[str, ...] = ("tokenizer",)
    cam: str = BLOCKS
    image_first: bool = False
    ragged: bool = False
    guidance: Literal["halves", "swapped", "apart", "perturbed", "embedded", "none"] = "halves"
    guided: str = "guidance_scale"
    neutral: str = ""
    beyond: bool = False
    keeps_norm: bool = False
    negated: bool = False
    trigflow: bool = False
    solo: bool = False
    takes: Literal["prompt", "label", "nothing"] = "prompt"
    no_negative: str = ""
    stage: str = ""
    decoder: str = "vae"
    quantizes: bool = False
    shifted: bool = False
    normalised: bool = False
    frames: bool = False
    squares: bool = False
    upcasts: bool = False
    packed: int = 1
    output: Literal["pt", "np"] = "pt"
    bins: tuple[int, ...] = ()
    scales: bool = True
    known: bool = True

    @property
    def off(self) -> float:
        """The guidance scale up to which nothing is guided."""
        return 0.0 if self.beyond else 1.0

    def missing(self, protocol: str = "ours") -> Mapping[str, str]:
        """The measures that this family cannot give under a protocol, and why."""
        reasons: dict[str, str] = {}
        if self.takes == "nothing":
            reasons["switch"] = "no prompt reaches it that could be switched"
            reasons["information"] = "no prompt reaches it whose words could be left out"
        if self.takes == "label":
            reasons["information"] = self.no_words
        if not self.known:
            reason = (
                "how this class guides its denoiser is not known, so its calls cannot be replayed"
            )
            reasons |= dict.fromkeys(REPLAYED, reason)
        if self.no_concepts:
            reasons["concept-attention"] = self.no_concepts
        if self.attention == "none":
            reasons |= dict.fromkeys(WORDED, self.no_words)
        elif self.no_relevance:
            reasons["relevance"] = self.no_relevance
        elif protocol == "park2024" and self.name not in ONE_ENCODER:
            reasons["relevance"] = (
                "the paper's protocol follows the one text encoder of Stable Diffusion, which it has not"
            )
        return reasons


TABLE = (
    Family(
        "unet",
        ("StableDiffusionPipeline",),
        denoiser="unet",
        attention="cross",
        layout=clip_layout,
        cam=UNET_LAYERS,
    ),
    Family(
        "unet-xl",
        ("StableDiffusionXLPipeline",),
        denoiser="unet",
        attention="cross",
        layout=clip_layout,
        tokenizer=("tokenizer", "tokenizer_2"),
        cam=UNET_LAYERS,
        normalised=True,
        upcasts=True,
    ),
    Family(
        "unet-lcm",
        ("LatentConsistencyModelPipeline",),
        denoiser="unet",
        attention="cross",
        layout=clip_layout,
        cam=UNET_LAYERS,
        guidance="embedded",
    ),
    Family(
        "kolors",
        ("KolorsPipeline",),
        denoiser="unet",
        attention="cross",
        layout=pieces_layout,
        cam=UNET_LAYERS,
        upcasts=True,
    ),
    Family(
        "mmdit",
        ("StableDiffusion3Pipeline",),
        denoiser="transformer",
        attention="joint",
        layout=sd3_layout,
        tokenizer=("tokenizer_3", "tokenizer"),
        shifted=True,
        scales=False,
    ),
    Family(
        "auraflow",
        ("AuraFlowPipeline",),
        denoiser="transformer",
        attention="joint",
        layout=registers_layout,
        upcasts=True,
        scales=False,
    ),
    Family(
        "flux",
        ("FluxPipeline",),
        denoiser="transformer",
        attention="joint",
        layout=partial(window_layout, tokenizer="tokenizer_2"),
        tokenizer=("tokenizer_2",),
        guidance="embedded",
        no_negative="its guidance is a number it is given, without an unconditional half",
        shifted=True,
        packed=2,
        scales=False,
    ),
    Family(
        "cogview4",
        ("CogView4Pipeline",),
        denoiser="transformer",
        attention="joint",
        layout=left_padded_layout,
        image_first=True,
        guidance="apart",
        solo=True,
        scales=False,
    ),
    Family(
        "chroma",
        ("ChromaPipeline",),
        denoiser="transformer",
        attention="joint",
        layout=window_layout,
        guidance="apart",
        shifted=True,
        packed=2,
        scales=False,
    ),
    Family(
        "flux2-klein",
        ("Flux2KleinPipeline",),
        denoiser="transformer",
        attention="joint",
        layout=partial(chat_layout, enable_thinking=False),
        guidance="apart",
        squares=True,
        packed=2,
        scales=False,
    ),
    Family(
        "flux2",
        ("Flux2Pipeline",),
        denoiser="transformer",
        attention="joint",
        layout=processor_layout,
        guidance="embedded",
        squares=True,
        packed=2,
        scales=False,
    ),
    Family(
        "krea2",
        ("Krea2Pipeline",),
        denoiser="transformer",
        attention="joint",
        no_concepts="the tokens of its text attend to each other inside it, so that more text would change the prompt's",
        layout=suffixed_layout,
        guidance="apart",
        beyond=True,
        frames=True,
        packed=2,
        scales=False,
    ),
    Family(
        "qwen-image",
        ("QwenImagePipeline",),
        denoiser="transformer",
        attention="joint",
        no_concepts="it counts on its text's positions, so that a concept's map would depend on its place in the bank",
        layout=instructed_layout,
        guidance="apart",
        guided="true_cfg_scale",
        neutral=" ",
        keeps_norm=True,
        frames=True,
        packed=2,
        solo=True,
        scales=False,
    ),
    Family(
        "z-image",
        ("ZImagePipeline",),
        denoiser="transformer",
        attention="joint",
        no_concepts=MOVES,
        layout=partial(chat_layout, right=True, enable_thinking=True),
        cam=r"layers\.\d+",
        image_first=True,
        guidance="swapped",
        beyond=True,
        negated=True,
        shifted=True,
        solo=True,
        scales=False,
    ),
    Family(
        "lumina2",
        ("Lumina2Pipeline",),
        denoiser="transformer",
        attention="joint",
        no_concepts=MOVES,
        layout=system_layout,
        cam=r"layers\.\d+",
        ragged=True,
        guidance="apart",
        keeps_norm=True,
        negated=True,
        shifted=True,
        scales=False,
    ),
    Family(
        "hunyuan-image",
        ("HunyuanImagePipeline",),
        denoiser="transformer",
        attention="joint",
        no_concepts="the tokens of its text attend to each other inside it, so that more text would change the prompt's",
        layout=glyph_layout,
        image_first=True,
        guidance="apart",
        guided="distilled_guidance_scale",
        solo=True,
        scales=False,
    ),
    Family(
        "hidream",
        ("HiDreamImagePipeline",),
        denoiser="transformer",
        attention="joint",
        layout=streams_layout,
        tokenizer=("tokenizer_3",),
        cam=STREAMS,
        image_first=True,
        negated=True,
        shifted=True,
        scales=False,
    ),
    Family(
        "pixart",
        ("PixArtAlphaPipeline", "PixArtSigmaPipeline"),
        denoiser="transformer",
        attention="cross",
        layout=lower_layout,
        bins=(32, 64, 128, 256),
    ),
    Family(
        "sana",
        ("SanaPipeline",),
        denoiser="transformer",
        attention="cross",
        no_relevance="its self-attention is linear, without weights that relevance could follow",
        layout=sana_layout,
        bins=(16, 32, 64, 128),
        scales=False,
    ),
    Family(
        "kandinsky22",
        ("KandinskyV22CombinedPipeline",),
        denoiser="unet",
        attention="none",
        no_words="the text reaches its denoiser as one image embedding, not as words",
        tokenizer=("prior_tokenizer",),
        cam=UNET_LAYERS,
        no_negative="its prior draws noise for negative prompts too, so that an image would depend on its batch",
        stage="decoder_pipe",
        decoder="movq",
        quantizes=True,
        output="np",
        scales=False,
    ),
    Family(
        "dit",
        ("DiTPipeline",),
        denoiser="transformer",
        attention="none",
        no_words="it is conditioned on a class label, not on words",
        guidance="swapped",
        takes="label",
        scales=False,
    ),
    Family(
        "unconditional",
        ("DDPMPipeline", "DDIMPipeline"),
        denoiser="unet",
        attention="none",
        no_words="it is unconditional: no prompt reaches it",
        cam=UNET_LAYERS,
        guidance="none",
        takes="nothing",
        decoder="",
        scales=False,
    ),
)

_NAMED = {family.name: family for family in TABLE}

FURTHER = (
    *(
        replace(_NAMED[plain], name=f"{plain}-pag", pipelines=(pipeline,), guidance="perturbed")
        for plain, pipeline in {
            "unet": "StableDiffusionPAGPipeline",
            "unet-xl": "StableDiffusionXLPAGPipeline",
            "kolors": "KolorsPAGPipeline",
            "mmdit": "StableDiffusion3PAGPipeline",
        }.items()
    ),
    replace(
        _NAMED["sana"],
        name="sana-sprint",
        pipelines=("SanaSprintPipeline",),
        guidance="embedded",
        trigflow=True,
        bins=(32,),
    ),
    Family(
        "prx",
        ("PRXPipeline",),
        denoiser="transformer",
        attention="joint",
        layout=cleaned_layout,
        shifted=True,
        solo=True,
        bins=(256, 512, 1024),  # never used: its denoiser has no sample size
        scales=False,
    ),
)
"""Classes that differ from others in little, and those that the mapping of a release added."""

FAMILIES: Mapping[str, Family] = {
    name: family for family in (*TABLE, *FURTHER) for name in family.pipelines
}
"""diffusers pipeline class -> family."""

PARTS = {
    "KandinskyV22Pipeline": "KandinskyV22CombinedPipeline",
    "KandinskyV22PriorPipeline": "KandinskyV22CombinedPipeline",
}
"""Classes that are half a model, and the class that is the whole of it."""


def family_named(pipeline_class: str, components: Mapping[str, Any]) -> Family:
    """The family of a diffusers pipeline class; an unknown class gets an entry that promises little.

    Args:
        pipeline_class: its name.
        components: what the pipeline is made of, by name.
    """
    if pipeline_class in FAMILIES:
        return FAMILIES[pipeline_class]
    return Family(
        "unknown",
        (pipeline_class,),
        denoiser="unet" if components.get("unet") is not None else "transformer",
        attention="none",
        no_words="where this class attends to words is not known",
        cam=UNET_LAYERS if components.get("unet") is not None else BLOCKS,
        decoder=next((name for name in ("vae", "movq", "vqvae") if components.get(name)), ""),
        quantizes=bool(components.get("movq")),
        output="np",  # in [0, 1] everywhere; "pt" is not
        known=False,
    )


def fits(pattern: str, name: str) -> bool:
    """Whether a layer's name is one of those that a family's `cam` describes."""
    return re.fullmatch(pattern, name) is not None
