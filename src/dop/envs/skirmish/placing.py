"""Room for several units around one point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dop.envs.skirmish.units import UNITS

_STEP = 0.125
"""Distance of neighbouring candidates."""
_WINDOW = 8.0
"""Candidates are at most this far from the point on each axis."""
_MARGIN = 1e-3


@dataclass(frozen=True, kw_only=True)
class Circle:
    """The room of a unit. Units in the air do not collide with units on the ground."""

    x: float
    y: float
    radius: float
    flying: bool

    @classmethod
    def of(cls, unit: str, point: tuple[float, float]) -> Circle:
        return cls(x=point[0], y=point[1], radius=UNITS[unit].separation, flying=UNITS[unit].flying)

    def overlaps(self, other: Circle) -> bool:
        near = (self.x - other.x) ** 2 + (self.y - other.y) ** 2 < (self.radius + other.radius - _MARGIN) ** 2
        return near and self.flying == other.flying


def place(
    unit: str, count: int, around: tuple[float, float], free: Callable[[str, np.ndarray], np.ndarray], taken: list[Circle]
) -> tuple[tuple[float, float], ...]:
    """Positions for `count` units of one type, each as close to `around` as there is room, sorted by x and then y.

    They keep clear of `taken` and are appended to it. There are fewer than `count` if there is no more room.
    """
    steps = np.arange(-_WINDOW, _WINDOW + _STEP, _STEP)
    offsets = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    nearest_first = np.lexsort((offsets[:, 1], offsets[:, 0], (offsets**2).sum(axis=-1)))
    points = offsets[nearest_first] + np.array(around)
    room = free(unit, points)
    for other in taken:
        room &= _apart(points, other, unit)
    placed: list[tuple[float, float]] = []
    while len(placed) < count and room.any():
        x, y = points[int(room.argmax())]
        placed.append((float(x), float(y)))
        taken.append(Circle.of(unit, placed[-1]))
        room &= _apart(points, taken[-1], unit)
    return tuple(sorted(placed))


def _apart(points: np.ndarray, other: Circle, unit: str) -> np.ndarray:
    """Which of the points leave a gap to another unit."""
    if other.flying != UNITS[unit].flying:
        return np.ones(len(points), bool)
    distance = UNITS[unit].separation + other.radius
    return ((points - np.array([other.x, other.y])) ** 2).sum(axis=-1) >= (distance - _MARGIN) ** 2
