"""Distances by features against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.metrics.perceptual import cosine_distance, layer_distance


def test_a_layer_is_the_weighted_gap_of_unit_features_averaged_over_positions() -> None:
    """Two positions: features at right angles (a gap of 1 in each of two channels), and features of one direction."""
    first = torch.tensor([[[[3.0, 1.0]], [[0.0, 1.0]]]])
    second = torch.tensor([[[[0.0, 5.0]], [[2.0, 5.0]]]])
    head = torch.tensor([0.5, 0.25])
    expected = torch.tensor([(0.5 + 0.25 + 0) / 2])
    assert torch.allclose(layer_distance(first, second, head), expected)
    assert torch.equal(layer_distance(second, first, head), layer_distance(first, second, head))
    assert layer_distance(first, first, head).tolist() == [0.0]


def test_a_position_without_features_is_no_division_by_0() -> None:
    nothing, some = torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 1, 1)
    assert layer_distance(nothing, some, torch.ones(2)).tolist() == pytest.approx([1.0])
    assert layer_distance(nothing, nothing, torch.ones(2)).tolist() == [0.0]


@pytest.mark.parametrize("degrees", [0, 30, 90, 135, 180])
def test_a_cosine_distance_is_that_of_the_angle_whatever_the_lengths(degrees: int) -> None:
    angle = math.radians(degrees)
    first = torch.tensor([[2.0, 0.0]])
    second = 7 * torch.tensor([[math.cos(angle), math.sin(angle)]])
    assert cosine_distance(first, second).item() == pytest.approx(1 - math.cos(angle), abs=1e-6)


def test_equal_vectors_are_exactly_0_apart() -> None:
    vectors = torch.randn(64, 33, generator=torch.Generator().manual_seed(0))
    assert cosine_distance(vectors, vectors.clone()).tolist() == [0.0] * 64
