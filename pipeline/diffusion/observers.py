"""What looks at each step: images, concept similarities, frames, further scorers."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from pipeline.diffusion.watch import Observer, StepView
from pipeline.models.scorer import Scorer
from pipeline.models.transfers import HostCopy, to_host
from pipeline.study.spec import Frames

# Images in one call of the scorer, over several steps, and pixels of such images that are kept at a time. On 2 CPU cores, 64
# images of 64 px are scored in 0.6 times the time that 8 at a time take.
IMAGES_AT_ONCE = 64
PIXELS_AT_ONCE = 2**24
# Pixels in one call of the decoder, where a step has fewer. 64 images of 64 px at a time take 1.7 times as long as 16, for
# their memory is got anew each time.
PIXELS_DECODED = 2**16


class ImageObserver(ABC):
    """An observer of a step's clean image alone, not of the call that made it: it may be shown several steps at once."""

    @abstractmethod
    def on_step(self, view: StepView) -> None:
        """Called for each step, in order."""

    def finish(self) -> None:  # noqa: B027 - most have nothing to do
        """Called after the last step."""

    @abstractmethod
    def columns(self, item: int) -> dict[str, Any]:
        """What was seen of one item of the batch."""


def gather(observers: Sequence[Observer]) -> list[Observer]:
    """The same observers, those of images alone as one."""
    pictured = [one for one in observers if isinstance(one, ImageObserver)]
    return [*(one for one in observers if one not in pictured), Gathered(pictured)]


class Gathered:
    """Shows steps, several at a time, to observers that need only the images: each model is called once for all of them.

    How many follows from the batch and the size of its images alone, so that a rerun computes the same numbers. A context
    manager: what is left at the end is shown when it is left without an error.
    """

    def __init__(self, observers: Sequence[ImageObserver]) -> None:
        self._observers = observers
        self._views: list[StepView] = []
        self._at_once = self._decoded = 1  # steps; the first tells how large images are

    def __enter__(self) -> Gathered:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            with torch.no_grad():
                self._show()
                for observer in self._observers:
                    observer.finish()

    def on_step(self, view: StepView) -> None:
        """Keep the step, or show all that are kept."""
        self._views.append(view)
        if len(self._views) >= self._at_once:
            self._show()

    def columns(self, item: int) -> dict[str, Any]:
        """All that the observers have of an item."""
        return {k: v for observer in self._observers for k, v in observer.columns(item).items()}

    def _show(self) -> None:
        views, self._views = self._views, []
        if not views:
            return
        see(views, self._decoded)
        for view in views:
            for observer in self._observers:
                observer.on_step(view)
        images, _, height, width = views[0].images().shape
        pixels = images * height * width
        self._at_once = max(1, min(IMAGES_AT_ONCE // images, PIXELS_AT_ONCE // pixels))
        self._decoded = max(1, PIXELS_DECODED // pixels)


def see(views: Sequence[StepView], decoded: int) -> None:
    """Decodes the steps of a batch, so many in one call, and embeds all of them in one."""
    batch, size = views[0].batch, len(views[0].denoised)
    unseen = [view for view in views if view._images is None]
    for first in range(0, len(unseen), decoded):
        part = unseen[first : first + decoded]
        images = batch.decode(torch.cat([view.denoised for view in part]))
        for view, decoded_images in zip(part, images.split(size), strict=True):
            view._images = decoded_images
    embeddings = batch.scorer.images(torch.cat([view.images() for view in views]))
    for view, part in zip(views, embeddings.split(size), strict=True):
        view._embeddings = part


class StepObserver:
    """Records where each step stands on the noise schedule: the shard's `steps`."""

    def __init__(self) -> None:
        self._steps: list[dict[str, Any]] = []

    def on_step(self, view: StepView) -> None:
        """Note timestep, alpha, sigma and log-SNR of this call."""
        self._steps.append(
            {
                "step": view.step,
                "timestep": view.timestep,
                "alpha": view.alpha,
                "sigma": view.sigma,
                "log_snr": view.level.log_snr,
                "call": view.call,
            }
        )

    def columns(self, item: int) -> dict[str, Any]:
        """The same steps for every item."""
        return {"steps": self._steps}


class Curves:
    """What one scorer says of a batch, step by step: similarity to every concept and to the item's prompt, in [-1, 1].

    The numbers stay on the scorer's device until they are asked for.
    """

    def __init__(
        self,
        names: Sequence[str],
        concepts: Float[Tensor, "k d"],
        prompts: Float[Tensor, "b d"],
    ) -> None:
        self._names, self._concepts = names, concepts
        self.prompts = prompts
        self._concept_similarity: list[Tensor] = []
        self._prompt_similarity: list[Tensor] = []

    def add(self, embeddings: Float[Tensor, "b d"]) -> None:
        """Add a step, of which these are the images' unit embeddings."""
        self._concept_similarity.append(embeddings @ self._concepts.T)
        self._prompt_similarity.append((embeddings * self.prompts).sum(-1))

    def of(self, item: int) -> dict[str, Any]:
        """`trajectories` and `prompt_similarity` of an item."""
        self.bring()
        curves = torch.stack(self._concept_similarity)[:, item].T.numpy()
        return {
            "trajectories": [
                {"concept": name, "similarity": curve}
                for name, curve in zip(self._names, curves, strict=True)
            ],
            "prompt_similarity": torch.stack(self._prompt_similarity)[:, item].numpy(),
        }

    def bring(self) -> None:
        """Bring all numbers to the host, by one copy."""
        steps = len(self._concept_similarity)
        host = to_host([*self._concept_similarity, *self._prompt_similarity])
        self._concept_similarity, self._prompt_similarity = host[:steps], host[steps:]


class ConceptObserver(ImageObserver):
    """Similarity of every step's predicted clean image to every concept and to the item's prompt, by the first scorer.

    Source: docs/methods.md, "Concept similarity": cos(CLIP_image(decode(x0_t)), CLIP_text(concept)), raw, in [-1, 1].
    """

    def __init__(
        self,
        names: Sequence[str],
        concepts: Float[Tensor, "k d"],
        prompts: Float[Tensor, "b d"],
        keep_embeddings: bool = False,
    ) -> None:
        self._curves = Curves(names, concepts, prompts)
        self._embeddings: list[Tensor] | None = [] if keep_embeddings else None
        self._finite: dict[int, Tensor] = {}

    def on_step(self, view: StepView) -> None:
        """Score this step's images."""
        self._finite[view.step] = torch.isfinite(view.denoised).flatten(1).all(1)
        embeddings = view.embeddings()
        self._curves.add(embeddings)
        if self._embeddings is not None:
            self._embeddings.append(embeddings)

    def finish(self) -> None:
        """Bring what was measured to the host.

        Raises:
            FloatingPointError: a NaN or infinite value, which spoils every later step. It is looked for after the last one,
                for a look makes the host wait for an accelerator.
        """
        finite = to_host(list(self._finite.values()))
        for step, flags in zip(self._finite, finite, strict=True):
            if not flags.all():
                bad = [i for i, flag in enumerate(flags.tolist()) if not flag]
                raise FloatingPointError(f"NaN or infinite latents at step {step}, items {bad}")
        self._curves.bring()
        if self._embeddings is not None:
            self._embeddings = to_host(self._embeddings)

    def columns(self, item: int) -> dict[str, Any]:
        """`trajectories`, `prompt_similarity` and, if asked for, `embedding` of an item."""
        self.finish()
        embedding: Any = (
            [] if self._embeddings is None else torch.stack(self._embeddings)[:, item].numpy()
        )
        return {**self._curves.of(item), "embedding": list(embedding)}


class FurtherScorers(ImageObserver):
    """The same similarities by the study's further scorers, of the images that the first was shown: decoded once.

    Tools, paths and embeddings are the first scorer's alone.
    """

    def __init__(self, scorers: Sequence[Scorer], curves: Sequence[Curves]) -> None:
        self._scorers, self._curves = scorers, curves
        self._final: list[Float[Tensor, " b"]] = []

    def on_step(self, view: StepView) -> None:
        """Score this step's images by every further scorer."""
        images = view.images()
        for scorer, curves in zip(self._scorers, self._curves, strict=True):
            curves.add(scorer.images(images))

    def finish(self) -> None:
        """Bring what was measured to the host."""
        for curves in self._curves:
            curves.bring()

    def score(self, images: Float[Tensor, "b 3 H W"]) -> None:
        """Score the final images.

        Raises:
            FloatingPointError: they have NaN or infinite values.
        """
        pairs = zip(self._scorers, self._curves, strict=True)
        self._final = [
            final_scores(scorer.images(images), curves.prompts) for scorer, curves in pairs
        ]

    def columns(self, item: int) -> dict[str, Any]:
        """`further_scorers` of an item, in the study's order."""
        return {
            "further_scorers": [
                {"clip_score": float(scores[item]), **curves.of(item)}
                for scores, curves in zip(self._final, self._curves, strict=True)
            ]
        }


def final_scores(
    embeddings: Float[Tensor, "b d"], prompts: Float[Tensor, "b d"]
) -> Float[Tensor, " b"]:
    """Cosine of each final image and its prompt, in [-1, 1], of unit embeddings.

    Raises:
        FloatingPointError: one is NaN or infinite.
    """
    scores = (embeddings * prompts).sum(-1).cpu()
    if not torch.isfinite(scores).all():
        raise FloatingPointError("the final image has NaN or infinite values")
    return scores


# Encodes pictures while the models run on: that took 2 % of a run.
_ENCODER = ThreadPoolExecutor(1, thread_name_prefix="pictures")


class FrameObserver(ImageObserver):
    """Small WebP pictures of the predicted clean image, at a stride, the first and last step always."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._images: dict[int, list[Future[bytes]]] = {}

    def on_step(self, view: StepView) -> None:
        """Encode this step's pictures if the stride asks for it."""
        if view.step in self._frames.at(view.total_steps):
            size, quality = self._frames.size, self._frames.quality
            self._images[view.step] = encode_later(view.images(), size, quality)

    def columns(self, item: int) -> dict[str, Any]:
        """`frames` of an item, their pictures as futures."""
        return {
            "frames": [
                {"step": step, "image": images[item]} for step, images in self._images.items()
            ]
        }


def encode(
    image: Float[Tensor, "3 h w"], size: int | None = None, quality: int | None = None
) -> bytes:
    """An image with values in [0, 1] as WebP; `size` bounds the longer side in pixels; no quality means lossless."""
    return _webp(_pixels(image[None]), 0, size, quality)


def encode_later(
    images: Float[Tensor, "n 3 h w"], size: int | None = None, quality: int | None = None
) -> list[Future[bytes]]:
    """What `encode` gives for each image, by a thread of its own: the caller waits neither for a device nor for the encoder."""
    pixels = _pixels(images)
    return [_ENCODER.submit(_webp, pixels, item, size, quality) for item in range(len(images))]


def _pixels(images: Float[Tensor, "n 3 h w"]) -> HostCopy:
    """Images as bytes "n h w 3", made so before they leave the device."""
    return HostCopy(_levels(images).to(torch.uint8).permute(0, 2, 3, 1))


def as_stored(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Images as a reader of their files has them: values in [0, 1] rounded to 8 bits a channel, NaN as it is.

    In the order of memory that decoded files have: a scorer rounds otherwise in another.
    """
    levels = _levels(images).float().permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return levels / levels.new_full((), 255.0)  # by a number, CUDA multiplies with 1 / 255


def _levels(images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Values from 0 to 255, rounded."""
    return (images.clamp(0, 1) * 255).round()


def _webp(pixels: HostCopy, item: int, size: int | None, quality: int | None) -> bytes:
    picture = Image.fromarray(pixels.values()[item].numpy())
    if size is not None and max(picture.size) > size:
        picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if quality is None:
        picture.save(buffer, "WEBP", lossless=True, quality=0, method=2)
    else:
        picture.save(buffer, "WEBP", quality=quality, method=2)
    return buffer.getvalue()
