"""How much one field of numbers, or the image that it decodes to, looks like another.

A reference is compared with many others; what depends on the reference alone is computed once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

WINDOW = 15
SIGMA = 1.5
K1, K2 = 0.01, 0.03
SSIM_TERMS = ("structure", "contrast", "luminance", "ssim")

Similarity = Callable[[Float[Tensor, "n c h w"]], Tensor]
"""Others -> similarity per position (n h w), or one for each (n); higher = closer."""


def smoothing(
    length: int, window: int, sigma: float, like: Tensor, border: str = "mirrored"
) -> Float[Tensor, "length length"]:
    """A 1-D Gaussian of `window` taps as a matrix.

    Two of these, one for each axis, are a 2-D blur; on latents that is faster than a convolution.
    A "mirrored" border is scipy's `reflect` (d c b a | a b c d), folded as often as a small grid needs; with "zero" there is
    nothing beyond the border, as in a padded convolution.
    """
    radius = window // 2
    taps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (taps / sigma) ** 2)
    weights /= weights.sum()
    reached = torch.arange(length)[:, None] + taps.long()[None]
    sources = reached % (2 * length)
    folded = torch.where(sources < length, sources, 2 * length - 1 - sources)
    shares = weights.expand(length, -1).clone()
    if border == "zero":
        shares[(reached < 0) | (reached >= length)] = 0
    matrix = torch.zeros(length, length, dtype=torch.float64)
    matrix.scatter_add_(1, folded, shares)
    return matrix.to(like)


@dataclass(frozen=True)
class SsimTerms:
    """A term of SSIM between a reference and others, averaged over channels.

    structure (cov + C3)/(sd sd' + C3), contrast (2 sd sd' + C2)/(var + var' + C2), luminance
    (2 mu mu' + C1)/(mu^2 + mu'^2 + C1), with C1 = (0.01 L)^2, C2 = (0.03 L)^2, C3 = C2/2 and L the
    reference's range; ssim is their product. Gaussian window of 15, sigma 1.5; on a grid smaller
    than 15 the mirrored border fills the window.

    Attributes:
        data_range: L; None = the reference's range.
        border: see `smoothing`.
        factor: of the covariance in the structure term alone, (factor cov + C3)/(sd sd' + C3).

    Source: Wang et al. 2004, equations 6-10; the structure term alone as in Park et al. 2024.
    """

    reference: Float[Tensor, "c h w"]
    term: str = "structure"
    window: int = WINDOW
    data_range: float | None = None
    border: str = "mirrored"
    factor: float = 1.0

    def __post_init__(self) -> None:
        ref = self.reference.float()
        rows, columns = (smoothing(n, self.window, SIGMA, ref, self.border) for n in ref.shape[-2:])
        mean = rows @ ref @ columns.T
        variance = (rows @ ref.square() @ columns.T - mean.square()).clamp(min=0)
        length = float(ref.max() - ref.min()) if self.data_range is None else self.data_range
        buffers = {"_rows": rows, "_columns": columns, "_mean": mean, "_variance": variance}
        for name, value in {**buffers, "_length": max(length, 1e-6)}.items():
            object.__setattr__(self, name, value)

    def __call__(self, others: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
        """Similarity per position; structure lies in [-factor, factor], contrast in [0, 1]."""
        mean, variance = self._mean, self._variance  # type: ignore[attr-defined]
        rows, columns = self._rows, self._columns  # type: ignore[attr-defined]
        c1, c2 = ((k * self._length) ** 2 for k in (K1, K2))  # type: ignore[attr-defined]
        others = others.float()
        blurred = rows @ others @ columns.T
        if self.term == "luminance":
            return _luminance(mean, blurred, c1).mean(1)
        spread = (rows @ others.square() @ columns.T - blurred.square()).clamp(min=0)
        deviations = (variance * spread).sqrt()
        if self.term == "contrast":
            return _contrast(deviations, variance, spread, c2).mean(1)
        cross = rows @ (others * self.reference.float()) @ columns.T
        covariance = cross - mean * blurred
        if self.term == "structure":
            return ((self.factor * covariance + c2 / 2) / (deviations + c2 / 2)).mean(1)
        structure = (covariance + c2 / 2) / (deviations + c2 / 2)
        contrast = _contrast(deviations, variance, spread, c2)
        return (structure * contrast * _luminance(mean, blurred, c1)).mean(1)


def _luminance(mean: Tensor, other: Tensor, c1: float) -> Tensor:
    return (2 * mean * other + c1) / (mean.square() + other.square() + c1)


def _contrast(deviations: Tensor, variance: Tensor, other: Tensor, c2: float) -> Tensor:
    return (2 * deviations + c2) / (variance + other + c2)


def cosine(reference: Float[Tensor, "c h w"]) -> Similarity:
    """The cosine over channels at every position, in [-1, 1]."""

    def score(others: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w"]:
        return torch.nn.functional.cosine_similarity(others.float(), reference.float()[None], dim=1)

    return score


def image_distance(
    embed: Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n d"]],
    reference: Float[Tensor, "c h w"],
) -> Similarity:
    """Minus the squared distance of two images' features: higher = closer, at most 0.

    With Inception's features this is the Frechet distance between two sets of one image each, which have no covariance.

    Source: Heusel et al. 2017 (arXiv 1706.08500), equation 6, at batch 1 as in Park et al. 2024.
    """
    target = embed(reference[None])

    def score(others: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        return -(embed(others) - target).square().sum(-1)

    return score


def image_cosine(
    embed: Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n d"]],
    reference: Float[Tensor, "c h w"],
) -> Similarity:
    """Cosine of unit image embeddings to the reference's; [-1, 1]."""
    target = embed(reference[None])

    def score(others: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        return (embed(others) * target).sum(-1)

    return score


def similarity_to(
    reference: Float[Tensor, "c h w"], name: str, protocol: str = "ours"
) -> Similarity:
    """The similarity of latents of a name: SSIM's terms, or "cosine".

    Under the paper's protocol SSIM has zero padding, L = 1 and, for its structure term, twice the covariance.

    Source: Wang et al. 2004; Park et al. 2024, as their published code has it.
    """
    if name in SSIM_TERMS and protocol == "park2024":
        return SsimTerms(reference, name, data_range=1.0, border="zero", factor=2.0)
    if name in SSIM_TERMS:
        return SsimTerms(reference, name)
    if name == "cosine":
        return cosine(reference)
    raise ValueError(f"similarity {name!r} is not known, or is one of images")


def mean_of(similarity: Similarity) -> Callable[[Float[Tensor, "n c h w"]], Float[Tensor, " n"]]:
    """A similarity as one number for each of n predictions: its mean over positions and channels."""

    def score(predicted: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        return similarity(predicted).flatten(1).mean(1)

    return score


def image_similarity(
    reference: Float[Tensor, "c h w"],
    name: str,
    embed: Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n d"]],
) -> Similarity:
    """The similarity of decoded images of a name: "clip" (a cosine) or "inception" (minus a squared distance).

    Args:
        reference: latents.
        name: of the similarity.
        embed: latents -> features of the image that they decode to.
    """
    return image_cosine(embed, reference) if name == "clip" else image_distance(embed, reference)
