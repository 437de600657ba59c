"""What the trial made of each class that the table of families lacks, sampled with tiny random weights.

tests/pipeline/diffusion/test_trial.py builds each, saves it, loads it as a user's folder, and compares the trial's outcome with
this table, in both directions. A class that a later release of diffusers adds to its mapping is missing here, and a test says so.
"""

from __future__ import annotations

from collections.abc import Mapping

WORKS = ""
"""The last x0 is the final image, recording changes no bit, and the steps meet the next noise level."""
ABSENT = "which is no model, scheduler, tokenizer or processor of this version of diffusers. Install the version it was saved with, or save it again."
TRIED: Mapping[str, str] = {
    "SanaPAGPipeline": WORKS,
    "PixArtSigmaPAGPipeline": WORKS,
    "HunyuanDiTPipeline": WORKS,
    "HunyuanDiTPAGPipeline": WORKS,
    "IFPipeline": WORKS,
    "KandinskyCombinedPipeline": WORKS,
    "Kandinsky3Pipeline": WORKS,
    "CogView3PlusPipeline": WORKS,
    "FluxKontextPipeline": WORKS,
    "GlmImagePipeline": WORKS,
    "Ideogram4Pipeline": WORKS,
    "LuminaPipeline": WORKS,
    "NucleusMoEImagePipeline": WORKS,
    "OvisImagePipeline": WORKS,
    "QwenImage21Pipeline": WORKS,
    "ZImageOmniPipeline": WORKS,
    "ErnieImagePipeline": WORKS,
    "OmniGenPipeline": WORKS,
    "Kandinsky5T2IPipeline": WORKS,
    "StableCascadeCombinedPipeline": f"component 'vqgan' of model_index.json asks for 'PaellaVQModel', {ABSENT}",
    "WuerstchenCombinedPipeline": f"component 'decoder' of model_index.json asks for 'WuerstchenDiffNeXt', {ABSENT}",
}
"""Class -> WORKS, or the line with which the trial refuses it before a run, without the model's name."""
SENTENCEPIECE = (
    "diffusers offers it only where the package sentencepiece is installed, and its tests run there"
)
NEEDING: Mapping[str, str] = {
    "KolorsPipeline": SENTENCEPIECE,
    "KolorsPAGPipeline": SENTENCEPIECE,
}
"""Class with an entry -> what it needs that the requirements do not install."""
