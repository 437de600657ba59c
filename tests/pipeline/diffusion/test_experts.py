"""Gradients of routed experts are those of what is computed, and what is computed is the same with and without them."""

from __future__ import annotations

import torch
from diffusers.models.transformers.transformer_hidream_image import MOEFeedForwardSwiGLU

from pipeline.diffusion.experts import experts_with_gradients


def mixture():
    torch.manual_seed(0)
    return MOEFeedForwardSwiGLU(8, 8, num_routed_experts=3, num_activated_experts=2).double().eval()


def test_gradients_are_those_of_finite_differences():
    module, x = mixture(), torch.randn(1, 5, 8, dtype=torch.float64, requires_grad=True)

    def forward(values):
        with experts_with_gradients(module):
            return module(values)

    assert torch.autograd.gradcheck(forward, (x,), eps=1e-6, atol=1e-6)


def test_without_it_the_experts_have_no_part_in_a_gradient():
    module, x = mixture(), torch.randn(1, 5, 8, dtype=torch.float64, requires_grad=True)
    (frozen,) = torch.autograd.grad(module(x).sum(), x)
    with experts_with_gradients(module):
        (whole,) = torch.autograd.grad(module(x).sum(), x)
    assert not torch.allclose(frozen, whole)


def test_what_is_computed_stays_the_same_and_the_module_keeps_its_method():
    module, x = mixture(), torch.randn(2, 5, 8, dtype=torch.float64)
    plain = module(x)
    with experts_with_gradients(module):
        assert torch.allclose(plain, module(x), atol=1e-14)
    assert "moe_infer" not in vars(module)
    with torch.no_grad(), experts_with_gradients(module):
        assert "moe_infer" not in vars(module)
        assert torch.equal(plain, module(x))
