import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from pipeline.explain.masks import default_side
from pipeline.explain.rise import (
    RiseOptions,
    make_masks,
    park2024,
    rise,
    rise_scores,
    score_masks,
)
from pipeline.metrics.localisation import localise
from pipeline.metrics.similarity import (
    SsimTerms,
    cosine,
    image_cosine,
    image_distance,
    similarity_to,
    smoothing,
)
from pipeline.study.spec import DESIGNS

LATENTS = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(0))


def only_inside(latents):
    """A denoiser that copies the middle of the latents and knows nothing of the rest."""
    out = torch.zeros_like(latents)
    out[..., 4:12, 4:12] = latents[..., 4:12, 4:12]
    return out


MIDDLE = np.zeros((16, 16), dtype=bool)
MIDDLE[4:12, 4:12] = True


def test_the_middle_that_alone_is_known_is_found_with_default_settings():
    """A score for each position finds it worse than chance: what is outside is copied to itself, as nothing."""
    saliency = rise(only_inside, LATENTS)
    assert localise(saliency.numpy(), MIDDLE).average_precision > 0.9  # by chance .25


def test_a_corner_that_decides_everything_elsewhere_is_found():
    """Influence over any distance counts, though the regression looks near each part of the field first."""
    everywhere, rest = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(7))
    weights = LATENTS[:, :6, :6]

    def from_the_corner(latents):
        share = (latents[..., :6, :6] * weights).sum((1, 2, 3), keepdim=True)
        return everywhere * share / weights.square().sum() + rest / 2

    corner = np.zeros((16, 16), dtype=bool)
    corner[:6, :6] = True
    for seed in range(3):
        saliency = rise(from_the_corner, LATENTS, RiseOptions(seed=seed))
        assert localise(saliency.numpy(), corner).average_precision > 0.9  # by chance .14


def test_a_denoiser_that_copies_its_input_does_not_point_to_the_middle():
    """Each position counts alike there: the map is flat. Without the correction for edges, it is high in the middle."""
    uncorrected = []
    for seed in range(6):
        latents = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(seed))
        assert not rise(lambda x: x, latents).any()
        values = rise(lambda x: x, latents, RiseOptions(masks=200, edges=False)).numpy()
        uncorrected.append(localise(values, MIDDLE).average_precision)
    assert np.mean(uncorrected) > 0.8  # by chance .25


@pytest.mark.parametrize("similarity", ["structure", "ssim", "contrast", "luminance", "cosine"])
def test_a_copy_on_another_scale_is_flat_by_every_similarity(similarity):
    """As at a step where the clean latents are the noisy ones times a constant; and on latents that show something."""
    shown = LATENTS + 3 * torch.from_numpy(MIDDLE)
    for latents in (LATENTS, shown):
        assert not rise(lambda x: 1.3 * x, latents, RiseOptions(similarity=similarity)).any()


@pytest.mark.parametrize("known", [0.1, 0.5])
def test_a_denoiser_that_copies_in_part_has_a_map(known):
    """What it knows of the middle besides is not hidden by what it copies."""
    middle = torch.from_numpy(MIDDLE)
    inside = LATENTS[:, 4:12, 4:12]

    def copies_and_knows(latents):
        share = (latents[..., 4:12, 4:12] * inside).sum((1, 2, 3), keepdim=True)
        return latents + known * 20 * ~middle * share / inside.square().sum() * LATENTS.roll(3, -1)

    assert rise(copies_and_knows, LATENTS).any()


def test_a_score_for_each_position_is_left_to_the_papers_protocol():
    assert not RiseOptions().per_position
    assert park2024(RiseOptions()).per_position
    options = park2024(RiseOptions(masks=300))
    saliency = rise_scores(only_inside, LATENTS, options, LATENTS)
    masks = make_masks(16, 16, options)
    fields = similarity_to(LATENTS, "structure", "park2024")(only_inside(masks[:, None] * LATENTS))
    assert torch.allclose(saliency, (masks * fields).sum(0), atol=1e-3)


def test_the_mean_is_rises_formula_with_one_number_for_each_mask():
    options = RiseOptions(masks=60, design="independent", estimator="mean", edges=False)
    masks = make_masks(16, 16, options)
    score = SsimTerms(only_inside(LATENTS), "structure")(only_inside(masks[:, None] * LATENTS))
    single = score.mean((1, 2))
    expected = (masks * single[:, None, None]).sum(0) / masks.sum(0)
    assert torch.allclose(rise_scores(only_inside, LATENTS, options), expected, atol=1e-5)


@pytest.mark.parametrize("similarity", ["structure", "ssim", "contrast", "luminance", "cosine"])
def test_every_similarity_is_one_number_for_each_mask(similarity):
    options = RiseOptions(masks=8, similarity=similarity)
    scores = score_masks(only_inside, LATENTS, options)
    fields = similarity_to(only_inside(LATENTS), similarity)
    masks = make_masks(16, 16, options)
    expected = fields(only_inside(masks[:, None] * LATENTS)).mean((1, 2))
    assert torch.allclose(scores.mean((1, 2)), expected, atol=1e-5)


def kept(latents):
    """How much of the middle is as it was: one number for each."""
    return (latents[..., 4:12, 4:12] == LATENTS[..., 4:12, 4:12]).float().mean((1, 2, 3))


def test_the_region_that_the_prediction_hangs_on_is_found():
    options = RiseOptions(masks=400)
    saliency = rise(only_inside, LATENTS, options, similarity=kept)
    assert float(saliency[6:10, 6:10].min()) > float(torch.cat([saliency[0], saliency[-1]]).max())


def test_a_map_of_one_position_is_found_exactly():
    options = RiseOptions(masks=3000, per_pixel=True)
    score = lambda out: (out[:, 0, 3, 9] != 0).float()
    saliency = rise(lambda x: x, LATENTS, options, similarity=score)
    assert divmod(int(saliency.argmax()), 16) == (3, 9)
    others = saliency.flatten().sort().values[:-1]
    assert float(others.max()) < 0.6


def test_a_constant_score_gives_no_saliency():
    saliency = rise(
        lambda x: x, LATENTS, RiseOptions(masks=50), similarity=lambda out: torch.ones(len(out))
    )
    assert float(saliency.abs().max()) == 0
    scores = rise_scores(
        lambda x: x, LATENTS, RiseOptions(masks=50), similarity=lambda o: torch.full((len(o),), 0.3)
    )
    assert torch.allclose(scores, torch.full((16, 16), 0.3), atol=1e-5)


def test_chunks_do_not_change_the_map():
    maps = [rise(only_inside, LATENTS, RiseOptions(masks=37, chunk=c)) for c in (1, 5, 37)]
    assert torch.allclose(maps[0], maps[1], atol=1e-4)
    assert torch.allclose(maps[0], maps[2], atol=1e-4)


def test_the_same_seed_gives_the_same_masks_and_the_global_state_is_left_alone():
    before = torch.get_rng_state()
    a, b = (make_masks(16, 24, RiseOptions(seed=3)) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, make_masks(16, 24, RiseOptions(seed=4)))
    assert torch.equal(before, torch.get_rng_state())


@given(st.integers(4, 40), st.integers(4, 40), st.integers(1, 12), st.booleans())
def test_masks_have_the_shape_and_range_of_the_grid(height, width, side, per_pixel):
    masks = make_masks(height, width, RiseOptions(masks=3, side=side, per_pixel=per_pixel))
    assert masks.shape == (3, height, width)
    assert 0 <= float(masks.min()) <= float(masks.max()) <= 1


@pytest.mark.parametrize("design", DESIGNS)
def test_masks_keep_every_position_equally_often(design):
    masks = make_masks(16, 16, RiseOptions(masks=4000, design=design))
    assert masks.mean(0).sub(0.5).abs().max() < 0.05


def test_the_paper_preset():
    options = park2024(RiseOptions(masks=40))
    masks = make_masks(16, 16, options)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert options.against_next
    assert not options.divide
    assert default_side(64, 64) == 8


def test_without_the_denominator_the_sum_is_left():
    options = RiseOptions(masks=20, divide=False)
    scores = rise_scores(lambda x: x, LATENTS, options, similarity=lambda o: torch.ones(len(o)))
    assert torch.allclose(scores, make_masks(16, 16, options).sum(0), atol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 20), (6, 9)])
def test_the_structure_term_is_the_textbooks(height, width):
    g = torch.Generator().manual_seed(1)
    a, b = torch.rand(1, height, width, generator=g), torch.rand(1, height, width, generator=g)
    blur = lambda x: gaussian_filter(x, 1.5, truncate=7 / 1.5, mode="reflect")
    x, y = a[0].double().numpy(), b[0].double().numpy()
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c3 = (0.03 * 1.0) ** 2 / 2
    expected = (cov + c3) / (np.sqrt(vx * vy) + c3)
    saliency = SsimTerms(a, "structure", data_range=1.0)(b[None])[0]
    assert np.allclose(saliency, expected, atol=1e-4)


def zero_padded(x):
    """A blur of 15 taps with nothing beyond the border."""
    return gaussian_filter(x, 1.5, truncate=7 / 1.5, mode="constant")


@pytest.mark.parametrize(("height", "width"), [(16, 16), (20, 9)])
def test_the_papers_structure_has_zero_padding_a_range_of_one_and_twice_the_covariance(
    height, width
):
    a, b = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(4)).double()
    expected = []
    for x, y in zip(a.numpy(), b.numpy(), strict=True):
        mx, my = zero_padded(x), zero_padded(y)
        vx, vy = zero_padded(x * x) - mx**2, zero_padded(y * y) - my**2
        cov, c3 = zero_padded(x * y) - mx * my, 0.03**2 / 2
        expected.append((2 * cov + c3) / (np.sqrt(vx * vy) + c3))
    saliency = similarity_to(a.float(), "structure", "park2024")(b.float()[None])[0]
    assert np.allclose(saliency, np.mean(expected, axis=0), atol=2e-3)
    mirrored = SsimTerms(a.float(), "structure", data_range=1.0, factor=2.0)(b.float()[None])[0]
    assert np.abs(saliency - mirrored)[0, 0] > 1e-2, "the border counts"


def test_the_papers_map_is_the_sum_of_masks_times_scores_by_hand():
    """Two masks on a denoiser that is linear: no denominator, a score for each position, against x_{t-1}."""
    following = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(9))
    options = park2024(RiseOptions(masks=2, seed=5))
    masks = make_masks(16, 16, options)
    score = similarity_to(following, "structure", "park2024")
    expected = sum(m * score(0.5 * (m * LATENTS)[None])[0] for m in masks)
    saliency = rise_scores(lambda x: 0.5 * x, LATENTS, options, following)
    assert torch.allclose(saliency, expected, atol=1e-4)


def test_the_three_terms_together_are_scikit_images_ssim():
    g = torch.Generator().manual_seed(2)
    a, b = torch.rand(1, 32, 32, generator=g), torch.rand(1, 32, 32, generator=g)
    terms = SsimTerms(a, "ssim", window=11, data_range=1.0)
    _, expected = structural_similarity(
        a[0].numpy(), b[0].numpy(), gaussian_weights=True, sigma=1.5, data_range=1.0,
        use_sample_covariance=False, full=True,
    )  # fmt: skip
    assert np.allclose(terms(b[None])[0], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["structure", "contrast", "luminance", "ssim", "cosine"])
def test_every_similarity_is_one_for_the_same(name):
    score = similarity_to(LATENTS, name)
    assert torch.allclose(score(LATENTS[None]), torch.ones(1, 16, 16), atol=1e-3)
    assert float(score(torch.randn(2, 4, 16, 16)).max()) <= 1 + 1e-5


def test_cosine_of_the_opposite_is_minus_one():
    assert torch.allclose(cosine(LATENTS)(-LATENTS[None]), -torch.ones(1, 16, 16), atol=1e-5)


def test_the_distance_of_images_is_nothing_for_the_same():
    embed = lambda x: x.flatten(1)[:, :5]
    score = image_distance(embed, LATENTS)
    saliency = score(torch.stack([LATENTS, LATENTS + 1]))
    assert saliency.tolist() == pytest.approx([0, -5], abs=1e-4)


def test_the_cosine_of_images_is_one_for_the_same():
    direction = lambda x: torch.nn.functional.normalize(x.flatten(1)[:, :5], dim=1)
    saliency = image_cosine(direction, LATENTS)(torch.stack([LATENTS, -LATENTS]))
    assert saliency.tolist() == pytest.approx([1, -1], abs=1e-5)


def test_smoothing_rows_sum_to_one_on_the_smallest_grid():
    assert torch.allclose(smoothing(2, 15, 1.5, LATENTS).sum(1), torch.ones(2))
