import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.metrics.faithfulness import (
    area,
    blur,
    distance_score,
    embedding_score,
    game_curves,
    game_points,
    order_curves,
    structure_score,
    summarise,
)

LATENTS = torch.randn(4, 12, 16, generator=torch.Generator().manual_seed(0))
RAMP = torch.arange(12 * 16.0).view(12, 16)


def spot(out):
    """1 while one known pixel is as it was, 0 afterwards."""
    return (out[:, :, 11, 15] == LATENTS[:, 11, 15]).all(1).float()


def same(x):
    return x


def test_a_perfect_map_has_deletion_area_nothing_and_insertion_area_one():
    deletion = game_curves(same, LATENTS, RAMP, "deletion", {"s": spot})["s"]
    insertion = game_curves(same, LATENTS, RAMP, "insertion", {"s": spot})["s"]
    assert deletion.points.tolist() == [1] + [0] * 12
    assert deletion.area == pytest.approx(0.5 / 12)
    assert insertion.area == pytest.approx(1 - 0.5 / 12)


def test_the_inverse_of_a_perfect_map_is_as_bad_as_it_gets():
    deletion = game_curves(same, LATENTS, -RAMP, "deletion", {"s": spot})["s"]
    insertion = game_curves(same, LATENTS, -RAMP, "insertion", {"s": spot})["s"]
    assert deletion.area == pytest.approx(1 - 0.5 / 12)
    assert insertion.area == pytest.approx(0.5 / 12)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_the_area_of_a_constant_score_is_the_constant(value):
    score = lambda out: torch.full((len(out),), value)
    curve = game_curves(same, LATENTS, RAMP, "deletion", {"s": score})["s"]
    assert curve.area == pytest.approx(value)
    assert curve.scaled is None


def test_a_score_that_counts_pixels_falls_in_a_straight_line():
    score = lambda out: (out != 0).float().mean((1, 2, 3))
    curve = game_curves(same, LATENTS, RAMP, "deletion", {"s": score})["s"]
    assert torch.allclose(curve.points, torch.linspace(1, 0, 13), atol=1e-6)
    assert curve.area == pytest.approx(0.5)


def test_points_run_from_the_start_to_the_end_of_each_game():
    deletion = game_points(LATENTS, RAMP, "deletion")
    insertion = game_points(LATENTS, RAMP, "insertion")
    assert len(deletion) == len(insertion) == 13
    assert torch.equal(deletion[0], LATENTS)
    assert float(deletion[-1].abs().max()) == 0
    assert torch.equal(insertion[0], blur(LATENTS))
    assert torch.equal(insertion[-1], LATENTS)


@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 99))
def test_one_rows_worth_of_pixels_changes_at_a_time(height, width, seed):
    g = torch.Generator().manual_seed(seed)
    latents = torch.rand(2, height, width, generator=g) + 1
    points = game_points(latents, torch.rand(height, width, generator=g), "deletion")
    zeros = (points[:, 0] == 0).sum((1, 2))
    assert zeros.tolist() == [width * k for k in range(height + 1)]


def test_shared_batches_equal_single_games():
    g = torch.Generator().manual_seed(1)
    orders = {name: torch.rand(12, 16, generator=g) for name in "abc"}
    denoise = lambda x: x.roll(1, -1) * 0.7
    score = structure_score(denoise(LATENTS[None])[0])
    for game in ("deletion", "insertion"):
        pairs = {"s": lambda points, out: score(out)}
        together = order_curves(denoise, LATENTS, orders, game, pairs, chunk=7)
        for name, order in orders.items():
            alone = game_curves(denoise, LATENTS, order, game, {"s": score})["s"]
            assert torch.allclose(together[name]["s"].points, alone.points, atol=1e-5)


def test_an_unknown_game_lists_the_known_ones():
    with pytest.raises(ValueError, match="insertion, deletion"):
        game_points(LATENTS, RAMP, "guessing")


def test_scores_say_which_way_is_closer():
    embed = lambda x: torch.nn.functional.normalize(x.flatten(1), dim=1)
    both = torch.stack([LATENTS, LATENTS.flip(0)])
    near, far = embedding_score(embed, LATENTS)(both)
    assert near == pytest.approx(1, abs=1e-5)
    assert far < near
    near, far = distance_score(embed, LATENTS)(both)
    assert near == pytest.approx(0, abs=1e-5)
    assert far > near
    near, far = structure_score(LATENTS)(both)
    assert far < near <= 1 + 1e-5


def test_the_blur_keeps_a_constant_and_flattens_noise():
    assert torch.allclose(blur(torch.ones(1, 6, 40)), torch.ones(1, 6, 40))
    assert float(blur(LATENTS).std()) < 0.3 * float(LATENTS.std())


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=40))
def test_areas_lie_between_the_extremes(values):
    points = torch.tensor(values)
    assert min(values) - 1e-5 <= area(points) <= max(values) + 1e-5
    scaled = summarise(points).scaled
    assert scaled is None or -1e-6 <= scaled <= 1 + 1e-6
