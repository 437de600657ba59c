"""What the trial made of each class that the table of families lacks, sampled with tiny random weights.

tests/pipeline/diffusion/test_trial.py builds each, saves it, loads it as a user's folder, and compares the trial's outcome with
this table, in both directions. A class that a later release of diffusers adds to its mapping is missing here, and a test says so.
"""

from __future__ import annotations

from collections.abc import Mapping

WORKS = ""
"""The last x0 is the final image, recording changes no bit, and the steps meet the next noise level."""
TRIED: Mapping[str, str] = {
    "StableDiffusionXLPAGPipeline": WORKS,
    "StableDiffusion3PAGPipeline": WORKS,
    "StableDiffusionPAGPipeline": WORKS,
    "SanaPAGPipeline": WORKS,
    "PixArtSigmaPAGPipeline": WORKS,
    "HunyuanDiTPipeline": WORKS,
    "HunyuanDiTPAGPipeline": WORKS,
    "Kandinsky3Pipeline": WORKS,
    "CogView3PlusPipeline": WORKS,
    "CogView4Pipeline": WORKS,
    "ChromaPipeline": WORKS,
    "QwenImagePipeline": WORKS,
    "ZImagePipeline": WORKS,
    "IFPipeline": WORKS,
    "Flux2KleinPipeline": WORKS,
    "FluxKontextPipeline": WORKS,
    "Ideogram4Pipeline": WORKS,
    "Krea2Pipeline": WORKS,
    "Lumina2Pipeline": WORKS,
    "OvisImagePipeline": WORKS,
}
"""Class -> WORKS, or the line with which the trial refuses it before a run, without the model's name."""
UNBUILT: Mapping[str, str] = {
    "KolorsPipeline": "not tried: diffusers offers it only where the package sentencepiece is installed",
}
"""Class -> why no tiny one can be built here."""
