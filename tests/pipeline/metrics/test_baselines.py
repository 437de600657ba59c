"""What stands in a removed region: its statistics, its cost, and known denoisers whose best map is known."""

import pytest
import torch
from scipy import stats

from pipeline.metrics.baselines import ROUNDS, calls_per_point, renoised, resampled
from pipeline.metrics.faithfulness import (
    GAMES,
    blur,
    embedding_score,
    game_points,
    order_curves,
    removed_positions,
    structure_score,
)

ALPHA, SIGMA = 0.6, 0.8
SIZE = 16
MIDDLE = torch.zeros(SIZE, SIZE)
MIDDLE[4:12, 4:12] = 1


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(seed: int, size: int = SIZE) -> tuple[torch.Tensor, torch.Tensor]:
    """(x_t, x0) of smooth clean latents."""
    clean = 3 * blur(torch.randn(4, size, size, generator=seeded(seed)))
    return ALPHA * clean + SIGMA * torch.randn(4, size, size, generator=seeded(seed + 1)), clean


def copying(latents):
    return latents / ALPHA


PRIOR = torch.randn(4, SIZE, SIZE, generator=torch.Generator().manual_seed(99))


def knowing_the_middle(latents):
    """Sees the middle alone: four fifths of what it says of the middle is what stands there; all else never changes."""
    return PRIOR + 0.8 * MIDDLE * (latents / ALPHA - PRIOR)


def removals(latents, clean, outcome, seed=0):
    """Every baseline of a denoiser, under its name in a study file."""
    level = (latents, clean, ALPHA, SIGMA)
    return {
        "zero": None,
        "re-noised": renoised(*level, seeded(seed)),
        "resampled": resampled(*level, seeded(seed), outcome),
    }


@pytest.mark.parametrize("name", ["re-noised", "resampled"])
def test_where_nothing_is_removed_x_t_stays_to_the_bit(name):
    latents, clean = draw(0)
    remove = removals(latents, clean, copying)[name]
    nothing = torch.zeros(3, 1, SIZE, SIZE, dtype=torch.bool)
    assert torch.equal(remove(nothing), latents.expand(3, -1, -1, -1))
    half = nothing.clone()
    half[:, :, :8] = True
    points = remove(half)
    assert torch.equal(points[:, :, 8:], latents[:, 8:].expand(3, -1, -1, -1))
    assert not (points[:, :, :8] == latents[:, :8]).any()


@pytest.mark.parametrize(("alpha", "sigma"), [(0.6, 0.8), (0.2, 0.98), (1.0, 9.0), (0.3, 0.7)])
def test_the_noise_of_a_re_noised_region_is_that_of_its_step(alpha, sigma):
    """Standard normal once the signal is taken off: variance-preserving, sigma-space and flow levels."""
    clean = 5 * torch.randn(4, 64, 64, generator=seeded(3))
    everything = torch.ones(1, 1, 64, 64, dtype=torch.bool)
    points = renoised(torch.zeros(4, 64, 64), clean, alpha, sigma, seeded(4))(everything)[0]
    noise = ((points - alpha * blur(clean)) / sigma).flatten()
    assert stats.kstest(noise.numpy(), "norm").pvalue > 0.01
    spread = points.var() - (alpha * blur(clean)).var()
    assert float(spread) == pytest.approx(sigma**2, rel=0.05)
    assert abs(stats.pearsonr(noise.numpy(), clean.flatten().numpy()).statistic) < 0.03


def test_zeros_do_not_have_the_noise_of_any_step():
    """The oracle of the test above refutes the baseline that it is meant to replace."""
    latents, _ = draw(5, 64)
    points = game_points(latents, torch.rand(64, 64, generator=seeded(6)), "deletion")
    assert stats.kstest(points[-1].flatten().numpy(), "norm").pvalue < 1e-9


def test_another_seed_is_other_noise():
    latents, clean = draw(0)
    everything = torch.ones(1, 1, SIZE, SIZE, dtype=torch.bool)
    first, again, other = (
        renoised(latents, clean, ALPHA, SIGMA, seeded(seed))(everything) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_resampled_region_agrees_with_the_rest():
    """A denoiser that knows images of one colour alone: the removed quarter gets the colour of what is kept.

    With a quarter removed, each round leaves a quarter of the gap to the kept colour.
    """
    colour = torch.tensor([2.0, -1.0, 0.5, -3.0])[:, None, None]
    latents = ALPHA * colour + SIGMA * torch.randn(4, 64, 64, generator=seeded(7))
    wrong = torch.zeros(4, 64, 64)  # what the start believes of the region
    removed = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    removed[:, :, :32, :32] = True
    one_colour = lambda x: (x / ALPHA).mean((-2, -1), keepdim=True).expand_as(x)
    level = (latents, wrong, ALPHA, SIGMA)
    outputs = resampled(*level, seeded(8), one_colour)(removed)[0, :, :32, :32].mean((1, 2))
    start = renoised(*level, seeded(8))(removed)[0, :, :32, :32].mean((1, 2))
    expected = ALPHA * colour.flatten() * (1 - 0.25**ROUNDS)
    assert torch.allclose(outputs, expected, atol=0.1)
    assert torch.allclose(start, torch.zeros(4), atol=0.1)


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("name", ["zero", "re-noised", "resampled"])
def test_the_map_of_the_region_that_alone_is_known_beats_random_and_inverse(name, game):
    """With the structure score of a study's default settings, on every one of 6 draws."""
    sign = 1 if game == "insertion" else -1
    for seed in range(6):
        latents, clean = draw(10 + seed)
        orders = {
            "known": MIDDLE + 0.1 * torch.rand(SIZE, SIZE, generator=seeded(seed)),
            "random": torch.rand(SIZE, SIZE, generator=seeded(50 + seed)),
        }
        orders["inverse"] = -orders["known"]
        areas = areas_of(latents, clean, knowing_the_middle, orders, game, name)
        assert sign * areas["known"] > sign * areas["random"]
        assert sign * areas["random"] > sign * areas["inverse"]


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("name", ["zero", "re-noised", "resampled"])
def test_no_map_gains_on_a_denoiser_that_copies(name, game):
    """Every position counts alike there: by cosine similarity, the middle is worth what a random map is."""
    gains, known = [], []
    for seed in range(24):
        latents = torch.randn(4, SIZE, SIZE, generator=seeded(200 + seed))
        orders = {
            "middle": MIDDLE + 0.1 * torch.rand(SIZE, SIZE, generator=seeded(seed)),
            "random": torch.rand(SIZE, SIZE, generator=seeded(50 + seed)),
        }
        for outcome, differences in ((copying, gains), (knowing_the_middle, known)):
            areas = areas_of(latents, latents, outcome, orders, game, name, cosine=True)
            differences.append(areas["middle"] - areas["random"])
    assert abs(torch.tensor(gains).mean()) < 0.15 * abs(torch.tensor(known).mean())
    assert stats.ttest_1samp(gains, 0).pvalue > 0.001


def areas_of(latents, clean, outcome, orders, game, name, *, cosine=False):
    reference = outcome(latents[None])[0]
    embed = lambda x: torch.nn.functional.normalize(x.flatten(1), dim=1)
    score = embedding_score(embed, reference) if cosine else structure_score(reference)
    remove = removals(latents, clean, outcome)[name]
    pairs = {"s": lambda _, outputs: score(outputs)}
    curves = order_curves(outcome, latents, orders, game, pairs, remove=remove)
    return {order: curve["s"].area for order, curve in curves.items()}


@pytest.mark.parametrize("game", GAMES)
def test_every_baseline_begins_or_ends_at_the_untouched_latents(game):
    latents, clean = draw(1)
    for remove in removals(latents, clean, copying).values():
        points = game_points(latents, MIDDLE, game, remove)
        assert torch.equal(points[-1 if game == "insertion" else 0], latents)


def test_insertion_removes_what_deletion_has_not():
    saliency = torch.rand(SIZE, SIZE, generator=seeded(0))
    deleted, inserted = (removed_positions(saliency, g) for g in ("deletion", "insertion"))
    assert torch.equal(deleted, ~inserted)
    assert deleted.sum((1, 2, 3)).tolist() == [SIZE * k for k in range(SIZE + 1)]


@pytest.mark.parametrize("name", ["zero", "re-noised", "resampled"])
def test_the_denoiser_is_called_as_often_as_the_plan_counts(name):
    latents, clean = draw(2)
    calls = []

    def counted(points):
        calls.append(len(points))
        return copying(points)

    remove = removals(latents, clean, counted)[name]
    score = {"s": lambda _, outputs: outputs.mean((1, 2, 3))}
    orders = {"a": MIDDLE, "b": -MIDDLE}
    order_curves(counted, latents, orders, "deletion", score, remove=remove)
    assert sum(calls) == 2 * (SIZE + 1) * calls_per_point(name)
