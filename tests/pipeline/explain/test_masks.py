import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import hadamard as textbook

from pipeline.explain.masks import _DRAW, grid_masks, hadamard, mask_grid
from pipeline.explain.rise import RiseOptions, make_masks
from pipeline.study.spec import DESIGNS

GRID = mask_grid(16, 16)
BALANCED = [design for design in DESIGNS if design != "independent"]


def drawn(design, count, seed=0, grid=GRID):
    return _DRAW[design](grid, count, 0.5, torch.Generator().manual_seed(seed))


def test_the_matrix_is_sylvesters():
    assert hadamard(17).tolist() == textbook(32).tolist()


@pytest.mark.parametrize("design", ["hadamard", "shifted-hadamard"])
def test_cells_are_orthogonal_to_each_other_and_to_the_mean(design):
    cells, _ = drawn(design, 64)  # one set: 32 runs for 25 cells, and their complements
    signs = 2.0 * cells.flatten(1) - 1
    gram = signs.T @ signs
    assert torch.equal(gram, 64 * torch.eye(25))
    assert torch.equal(signs.sum(0), torch.zeros(25))


def test_independent_cells_are_not():
    cells, _ = drawn("independent", 64)
    signs = 2.0 * cells.flatten(1) - 1
    off = signs.T @ signs - 64 * torch.eye(25)
    assert float(off.abs().max()) > 8


@pytest.mark.parametrize("design", BALANCED)
@pytest.mark.parametrize("count", [2, 64, 100])
def test_each_mask_is_followed_by_its_complement_at_the_same_shift(design, count):
    cells, shifts = drawn(design, count)
    assert cells.shape == (count, GRID.rows, GRID.columns)
    assert torch.equal(cells[::2], ~cells[1::2])
    assert torch.equal(shifts[::2], shifts[1::2])
    masks = grid_masks(GRID, count, 0.5, design, torch.Generator().manual_seed(0))
    assert torch.allclose(masks[::2] + masks[1::2], torch.ones(()), atol=1e-5)


def test_shifts_are_used_equally_often():
    _, shifts = drawn("shifted-hadamard", 64)
    counts = (shifts[:, 0] * GRID.cell + shifts[:, 1]).bincount(minlength=GRID.cell**2)
    assert counts.tolist() == [4] * 16


@pytest.mark.parametrize("design", ["hadamard", "shifted-hadamard"])
def test_the_first_masks_of_a_set_are_a_smaller_set(design):
    many, few = (make_masks(16, 16, RiseOptions(masks=n, design=design)) for n in (128, 64))
    assert torch.equal(many[:64], few)


@given(st.integers(4, 40), st.integers(4, 40), st.integers(1, 9), st.sampled_from(DESIGNS))
def test_every_design_fills_any_grid(height, width, side, design):
    grid = mask_grid(height, width, side)
    masks = grid_masks(grid, 5, 0.5, design, torch.Generator().manual_seed(1))
    assert masks.shape == (5, height, width)
    assert 0 <= float(masks.min()) <= float(masks.max()) <= 1


def test_balanced_designs_keep_half():
    with pytest.raises(ValueError, match=r"keeps half of the cells, not 0\.3"):
        make_masks(16, 16, RiseOptions(design="antithetic", probability=0.3))
    assert float(make_masks(16, 16, RiseOptions(masks=500, probability=0.3)).mean()) < 0.4


def test_a_design_that_is_not_known_is_named():
    with pytest.raises(ValueError, match="design 'latin' is not known; it is one of independent"):
        make_masks(16, 16, RiseOptions(design="latin"))
