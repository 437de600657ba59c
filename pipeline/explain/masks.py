"""The masks of DF-RISE: which regions of the latents are kept in each call of the denoiser."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.study.spec import DESIGNS

CELLS = 8  # along the longer side of a latent grid of 64
FEWEST_CELLS = 4


@dataclass(frozen=True)
class MaskGrid:
    """RISE's low-resolution grid of cells on latents of h x w.

    Attributes:
        cell: latents along one side of a cell.
        rows, columns: of cells; one more than fit, because each mask is cut out at a shift of less than one cell.
    """

    height: int
    width: int
    cell: int
    rows: int
    columns: int


Draws = tuple[Bool[Tensor, "n rows columns"], Int[Tensor, "n 2"]]
"""Which cells are kept, and the shift (down, right) at which the mask is cut out."""


def default_side(height: int, width: int) -> int:
    """Mask cells along the longer side: 8 on a latent grid of 64, in proportion, at least 4."""
    return max(FEWEST_CELLS, round(CELLS * max(height, width) / 64))


def mask_grid(height: int, width: int, side: int | None = None) -> MaskGrid:
    """The grid of cells with `side` cells along the longer side (`default_side` if None)."""
    cell = max(1, math.ceil(max(height, width) / (side or default_side(height, width))))
    return MaskGrid(height, width, cell, math.ceil(height / cell) + 1, math.ceil(width / cell) + 1)


def grid_masks(
    grid: MaskGrid, count: int, probability: float, design: str, generator: torch.Generator
) -> Float[Tensor, "n h w"]:
    """Masks in [0, 1] (1 = kept): cells kept or not, enlarged bilinearly, cut out at a shift.

    Source: Petsiuk et al. 2018 (arXiv 1806.07421), section 3.2.

    Args:
        design: how the cells of the masks are drawn, one of DESIGNS. All but "independent" keep each cell in half of
            the masks. "antithetic": each mask is followed by its complement. "hadamard": cells
            are factors of a Hadamard design (Plackett and Burman 1946), folded over, one shift for each set of it.
            "shifted-hadamard": the same with a shift for each mask and its complement.

    Raises:
        ValueError: an unknown design, or one that keeps half of the cells with another probability.
    """
    if design not in DESIGNS:
        raise ValueError(f"design {design!r} is not known; it is one of {', '.join(DESIGNS)}")
    if design != "independent" and probability != 0.5:
        raise ValueError(f"design {design!r} keeps half of the cells, not {probability}")
    drawn, shifts = _DRAW[design](grid, count, probability, generator)
    return render(drawn, shifts, grid)


def render(
    drawn: Bool[Tensor, "n rows columns"], shifts: Int[Tensor, "n 2"], grid: MaskGrid
) -> Float[Tensor, "n h w"]:
    """Cells as masks: enlarged bilinearly and cut out at the shifts."""
    size = (grid.rows * grid.cell, grid.columns * grid.cell)
    large = F.interpolate(drawn[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0]
    cut = [
        large[n, y : y + grid.height, x : x + grid.width]
        for n, (y, x) in enumerate(shifts.tolist())
    ]
    return torch.stack(cut).clamp(max=1)  # bilinear weights add up to 1 but for rounding


def _independent(
    grid: MaskGrid, count: int, probability: float, generator: torch.Generator
) -> Draws:
    draws = torch.rand(count, grid.rows, grid.columns, generator=generator)
    return draws < probability, torch.randint(grid.cell, (count, 2), generator=generator)


def _antithetic(
    grid: MaskGrid, count: int, probability: float, generator: torch.Generator
) -> Draws:
    drawn, shifts = _independent(grid, (count + 1) // 2, probability, generator)
    return _with_complements(drawn, shifts, count)


def _with_complements(
    drawn: Bool[Tensor, "n rows columns"], shifts: Int[Tensor, "n 2"], count: int
) -> Draws:
    """Each mask followed by its complement, so that the first masks of a set are themselves such a set."""
    both = torch.stack([drawn, ~drawn], 1).flatten(0, 1)
    return both[:count], shifts.repeat_interleave(2, 0)[:count]


def _hadamard(grid: MaskGrid, count: int, _: float, generator: torch.Generator) -> Draws:
    return _folded(grid, count, generator, lambda runs: _shift(grid, generator).expand(runs, 2))


def _shifted_hadamard(grid: MaskGrid, count: int, _: float, generator: torch.Generator) -> Draws:
    return _folded(grid, count, generator, lambda runs: _all_shifts(grid, runs, generator))


_DRAW: dict[str, Callable[[MaskGrid, int, float, torch.Generator], Draws]] = {
    "independent": _independent,
    "antithetic": _antithetic,
    "hadamard": _hadamard,
    "shifted-hadamard": _shifted_hadamard,
}


def _folded(
    grid: MaskGrid,
    count: int,
    generator: torch.Generator,
    shifts_of: Callable[[int], Int[Tensor, "run 2"]],
) -> Draws:
    """Sets of runs and their complements until there are `count` masks; the last set is cut short.

    A cell's column of the design, and which of its signs is kept, are drawn anew for each set.
    """
    sets: list[Tensor] = []
    shifts: list[Tensor] = []
    while 2 * sum(map(len, sets)) < count:  # each run is two masks: itself and its complement
        runs = _design(grid.rows * grid.columns, generator)
        sets.append(runs.unflatten(1, (grid.rows, grid.columns)))
        shifts.append(shifts_of(len(runs)))
    return _with_complements(torch.cat(sets), torch.cat(shifts), count)


def _design(factors: int, generator: torch.Generator) -> Bool[Tensor, "run factor"]:
    """A two-level design in which all factors are orthogonal to each other, its runs in random order."""
    matrix = hadamard(factors + 1)
    columns = 1 + torch.randperm(len(matrix) - 1, generator=generator)[:factors]
    signs = torch.rand(factors, generator=generator) < 0.5
    rows = torch.randperm(len(matrix), generator=generator)
    return (matrix[rows][:, columns] > 0) ^ signs


def hadamard(least: int) -> Int[Tensor, "order order"]:
    """Sylvester's Hadamard matrix of the smallest order of at least `least`: entries 1 and -1, orthogonal columns."""
    matrix = torch.ones(1, 1, dtype=torch.int8)
    while len(matrix) < least:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def _shift(grid: MaskGrid, generator: torch.Generator) -> Int[Tensor, "1 2"]:
    return torch.randint(grid.cell, (1, 2), generator=generator)


def _all_shifts(grid: MaskGrid, count: int, generator: torch.Generator) -> Int[Tensor, "n 2"]:
    """Shifts in random order, each as often as every other."""
    rounds = [
        torch.randperm(grid.cell**2, generator=generator)
        for _ in range(math.ceil(count / grid.cell**2))
    ]
    offsets = torch.cat(rounds)[:count]
    return torch.stack([offsets // grid.cell, offsets % grid.cell], 1)
