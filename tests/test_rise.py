import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from pipeline.explain.rise import RiseOptions, default_side, make_masks, park2024, rise, rise_scores
from pipeline.similarity import SsimTerms, batch_one_fid, cosine, similarity_to, smoothing

LATENTS = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(0))


def only_inside(latents):
    """A denoiser that copies the middle of the latents and knows nothing of the rest."""
    out = torch.zeros_like(latents)
    out[..., 4:12, 4:12] = latents[..., 4:12, 4:12]
    return out


def kept(latents):
    """How much of the middle is as it was: one number for each."""
    return (latents[..., 4:12, 4:12] == LATENTS[..., 4:12, 4:12]).float().mean((1, 2, 3))


def test_the_region_that_the_prediction_hangs_on_is_found():
    options = RiseOptions(masks=400)
    found = rise(only_inside, LATENTS, options, similarity=kept)
    assert float(found[6:10, 6:10].min()) > float(torch.cat([found[0], found[-1]]).max())


def test_a_map_of_one_position_is_found_exactly():
    options = RiseOptions(masks=3000, per_pixel=True)
    score = lambda out: (out[:, 0, 3, 9] != 0).float()
    found = rise(lambda x: x, LATENTS, options, similarity=score)
    assert divmod(int(found.argmax()), 16) == (3, 9)
    others = found.flatten().sort().values[:-1]
    assert float(others.max()) < 0.6


def test_a_constant_score_gives_no_saliency():
    found = rise(
        lambda x: x, LATENTS, RiseOptions(masks=50), similarity=lambda out: torch.ones(len(out))
    )
    assert float(found.abs().max()) == 0
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


def test_masks_keep_every_position_equally_often():
    masks = make_masks(16, 16, RiseOptions(masks=4000))
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
    found = SsimTerms(a, "structure", data_range=1.0)(b[None])[0]
    assert np.allclose(found, expected, atol=1e-4)


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


def test_distance_at_batch_one_is_nothing_for_the_same():
    embed = lambda x: x.flatten(1)[:, :5]
    score = batch_one_fid(embed, LATENTS)
    found = score(torch.stack([LATENTS, LATENTS + 1]))
    assert found.tolist() == pytest.approx([0, -5], abs=1e-4)


def test_smoothing_rows_sum_to_one_on_the_smallest_grid():
    assert torch.allclose(smoothing(2, 15, 1.5, LATENTS).sum(1), torch.ones(2))
