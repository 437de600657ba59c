"""The schedulers of diffusers that pipelines can take, and how to make one."""

import diffusers
from diffusers.schedulers import KarrasDiffusionSchedulers

KARRAS = [entry.name for entry in KarrasDiffusionSchedulers]
FLOW = [
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "FlowMatchLCMScheduler",
]
OTHERS = [
    "SASolverScheduler",
    "LCMScheduler",
    "TCDScheduler",
    "DDIMParallelScheduler",
    "DDPMParallelScheduler",
    "EDMDPMSolverMultistepScheduler",
]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def make(name, prediction="epsilon", **options):
    cls = getattr(diffusers, name)
    if name.startswith("FlowMatch"):
        return cls()
    settings = {"prediction_type": prediction, **options}
    if not name.startswith("EDM"):
        settings |= BETAS
    if name.startswith(("DDIM", "DDPM", "LCM", "TCD")):
        settings.setdefault("clip_sample", False)
    if name == "LCMScheduler":
        settings["original_inference_steps"] = 50
    return cls(**settings)
