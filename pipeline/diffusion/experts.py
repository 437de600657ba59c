"""Gradients through routed experts, which diffusers computes without them (HiDream)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

ROUTED = "moe_infer"
"""The method of a mixture of experts that diffusers runs under `no_grad`."""


@contextmanager
def experts_with_gradients(module: nn.Module) -> Iterator[None]:
    """Lets gradients pass through the experts of a denoiser while they are enabled; what is computed stays the same."""
    mixtures = [part for part in module.modules() if hasattr(type(part), ROUTED)]
    if not torch.is_grad_enabled() or not mixtures:
        yield
        return
    for mixture in mixtures:
        setattr(mixture, ROUTED, partial(routed, mixture))
    try:
        yield
    finally:
        for mixture in mixtures:
            delattr(mixture, ROUTED)


def routed(
    mixture: Any,
    tokens: Float[Tensor, "token d"],
    chosen: Int[Tensor, " choice"],
    weights: Float[Tensor, "choice 1"],
) -> Float[Tensor, "token d"]:
    """The weighted sum of what the chosen experts make of each token.

    Args:
        mixture: HiDream's layer of experts.
        tokens: what goes in.
        chosen: the numbers of each token's experts, one token after the other.
        weights: of each choice.
    """
    output = torch.zeros_like(tokens)
    for number, expert in enumerate(mixture.experts):
        (choices,) = (chosen == number).nonzero(as_tuple=True)
        rows = choices // mixture.num_activated_experts
        output = output.index_add(0, rows, (expert(tokens[rows]) * weights[choices]).to(output))
    return output
