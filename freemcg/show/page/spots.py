"""The strongest spots of a map, each told from zero, and the places of their letters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

LETTERS = "ABCD"
TRIED = 24
CORE = 0.5
"""A spot is what exceeds this share of its peak, joined to the peak."""
RADIUS = 0.2
"""A spot reaches no farther than this share of the shorter side, so a long rim is not one spot."""
Z = 1.96


@dataclass(frozen=True)
class Spot:
    """A blob of a map.

    Attributes:
        x, y: its pixel nearest to its middle, in [0, 1], from the left and from the top. The middle of a bent spot may
            lie beside it.
        column, row: the pixel of its peak.
        value: its mean value.
        error: the mean standard error of its pixels. That is right if they err together, and cautious if not.
        pixels: its size.
    """

    x: float
    y: float
    column: int
    row: int
    value: float
    error: float
    pixels: int

    @property
    def weight(self) -> float:
        """The sum of the magnitudes of its values."""
        return abs(self.value) * self.pixels

    @property
    def half_width(self) -> float:
        """Half the width of its 95 % interval."""
        return Z * self.error


def strongest_spots(values: Tensor, errors: Tensor, significant: Tensor) -> list[Spot]:
    """The four spots of most weight, strongest first, from a map `(H, W)` with its errors and significant places.

    A spot grows from a peak over joined significant pixels of its sign that exceed half of the peak. What a spot took,
    and what lies within its radius and has its sign, begins no other. If nothing is significant, there is no spot.
    """
    value, error, free = (
        each.detach().cpu().numpy().copy() for each in (values.double(), errors.double(), significant)
    )
    on = free.copy()
    radius = max(2.0, RADIUS * min(value.shape))
    found = []
    for _ in range(TRIED):
        if not free.any():
            break
        place = int(np.argmax(np.where(free, np.abs(value), -1.0)))
        peak = divmod(place, value.shape[1])
        core = _grown(value, on, peak, radius)
        rows, columns = np.array(sorted(core)).T
        middle = np.hypot(rows - rows.mean(), columns - columns.mean()).argmin()
        found.append(
            Spot(
                x=float(columns[middle] + 0.5) / value.shape[1],
                y=float(rows[middle] + 0.5) / value.shape[0],
                column=peak[1],
                row=peak[0],
                value=float(value[rows, columns].mean()),
                error=float(error[rows, columns].mean()),
                pixels=len(core),
            )
        )
        free[_near(value.shape, peak, radius) & (value * value[peak] > 0)] = False
        free[rows, columns] = False
    return sorted(found, key=lambda spot: -spot.weight)[: len(LETTERS)]


def _grown(value: np.ndarray, on: np.ndarray, peak: tuple[int, int], radius: float) -> list[tuple[int, int]]:
    """The pixels, as rows and columns, that belong to the spot with this peak."""
    joined = on & (value * np.sign(value[peak]) >= CORE * abs(value[peak])) & _near(value.shape, peak, radius)
    seen, waiting = {peak}, [peak]
    while waiting:
        row, column = waiting.pop()
        for next_ in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            inside = 0 <= next_[0] < value.shape[0] and 0 <= next_[1] < value.shape[1]
            if inside and next_ not in seen and joined[next_]:
                seen.add(next_)
                waiting.append(next_)
    return list(seen)


def _near(shape: tuple[int, ...], peak: tuple[int, int], radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    near: np.ndarray = np.hypot(rows - peak[0], columns - peak[1]) <= radius
    return near


def letter_places(spots: Sequence[Spot], values: Tensor) -> list[tuple[float, float]]:
    """Where the letter of each spot is drawn, in [0, 1]: beside it, where it hides least of the map and no letter."""
    strength = values.detach().cpu().abs().double().numpy()
    strength = strength / (strength.max() or 1.0)
    height, width = strength.shape
    placed: list[tuple[float, float]] = []
    for spot in spots:
        choices = [
            (spot.x + reach * math.cos(turn * math.pi / 8), spot.y + reach * math.sin(turn * math.pi / 8))
            for reach in (0.12, 0.16, 0.2)
            for turn in range(16)
        ]
        inside = [(x, y) for x, y in choices if 0.06 < x < 0.94 and 0.06 < y < 0.94]

        def hidden(at: tuple[float, float]) -> float:
            rows = slice(int((at[1] - 0.05) * height), int((at[1] + 0.05) * height) + 1)
            columns = slice(int((at[0] - 0.05) * width), int((at[0] + 0.05) * width) + 1)
            crowded = sum(math.dist(at, other) < 0.12 for other in placed)
            crowded += sum(math.dist(at, (other.x, other.y)) < 0.09 for other in spots)
            return float(strength[rows, columns].mean()) + crowded + math.dist(at, (spot.x, spot.y))  # noqa: B023

        placed.append(min(inside or [(spot.x, spot.y)], key=hidden))
    return placed
